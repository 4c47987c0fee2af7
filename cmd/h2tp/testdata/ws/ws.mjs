// node ws.mjs serve: an echo server that prints its port.
// node ws.mjs check URL: a client that prints "ok" when all is well.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { WebSocket, WebSocketServer } from 'ws';

const assert = (isTrue, what) => {
  if (!isTrue) throw new Error(what);
};
const sum = data => createHash('sha256').update(data).digest('hex');
const options = { perMessageDeflate: { threshold: 1024 }, maxPayload: 1 << 26 };

function serve() {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', ...options });
  server.on('connection', ws => {
    ws.on('error', () => {});
    ws.on('message', (data, isBinary) => {
      const words = isBinary ? [] : data.toString().split(' ');
      if (words[0] === 'close') ws.close(Number(words[1]), words[2]);
      else if (words[0] === 'die') ws.terminate();
      else {
        const half = data.length >> 1; // in two fragments
        ws.send(data.subarray(0, half), { binary: isBinary, fin: false });
        ws.send(data.subarray(half), { binary: isBinary, fin: true });
      }
    });
  });
  server.on('listening', () => console.log(`port=${server.address().port}`));
  process.on('SIGTERM', () => process.exit(0));
}

async function open(url) {
  const ws = new WebSocket(url, options);
  await once(ws, 'open');
  return ws;
}

async function echo(ws, data, isBinary, send = () => ws.send(data, { binary: isBinary })) {
  const answer = once(ws, 'message');
  send();
  const [got, gotBinary] = await answer;
  assert(gotBinary === isBinary && sum(got) === sum(data), `${data.length} bytes, binary ${isBinary}: got ${got.length}, ${gotBinary}`);
}

async function check(url) {
  const ws = await open(url);
  for (const size of [0, 1, 125, 126, 65535, 65536, 4 << 20]) {
    await echo(ws, Buffer.alloc(size, 'text '), false);
    await echo(ws, randomBytes(size), true);
  }
  const pieces = [randomBytes(10), Buffer.alloc(0), randomBytes(70000), randomBytes(1)];
  const pong = once(ws, 'pong');
  await echo(ws, Buffer.concat(pieces), true, () => {
    pieces.forEach((p, i) => {
      ws.send(p, { binary: true, fin: i === pieces.length - 1 });
      if (i === 1) ws.ping('between');
    });
  });
  assert((await pong)[0].toString() === 'between', 'pong');
  for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 3000, 4999]) {
    for (const isServer of [true, false]) {
      const ws = await open(url);
      const closed = once(ws, 'close');
      if (isServer) ws.send(`close ${code} why`);
      else ws.close(code, 'why');
      const [got, reason] = await closed;
      assert(got === code && reason.toString() === 'why', `close ${code}, by the server ${isServer}: got ${got} ${reason}`);
    }
  }
  const dying = await open(url);
  dying.send('die');
  assert((await once(dying, 'close'))[0] === 1006, 'a connection that died');
  await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const ws = await open(url);
      for (let j = 0; j < 20; j++) await echo(ws, Buffer.alloc(i * j * 100, `${i}.${j} `), false);
      ws.close();
      await once(ws, 'close');
    }),
  );
  ws.close(1000);
  await once(ws, 'close');
  console.log('ok');
}

if (process.argv[2] === 'serve') serve();
else await check(process.argv[3]);

package main

import "testing"

func TestTraceLogsConnectionsAndStreams(t *testing.T) {
	up := startUpstream(t, hello)
	back := startServe(t, "--listen", "h2tpc://127.0.0.1:0", "--to", up, "--trace")
	front := startServe(t, "--listen", "http://127.0.0.1:0", "--to", back.url(t, "h2tpc"), "--trace")
	wantHello(t, front.url(t, "http"))
	for _, p := range []*process{front, back} {
		p.out.await(t, `msg="trace: connected" addr=127.0.0.1:`)
		p.out.await(t, `stream=1 reused=false`)
	}
	front.out.await(t, `msg="trace: dialling" addr=127.0.0.1:`)
	back.cancel()
	front.out.await(t, `msg="trace: stream closed"`)
	front.out.await(t, `msg="trace: disconnected"`)
}

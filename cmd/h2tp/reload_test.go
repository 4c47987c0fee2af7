package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// configFile is a configuration file that a test writes anew.
type configFile struct {
	t    *testing.T
	path string
}

func newConfigFile(t *testing.T, text string) *configFile {
	return &configFile{t, writeConfig(t, text)}
}

// write replaces the file at once, as one should.
func (f *configFile) write(text string) {
	f.t.Helper()
	next := f.path + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(next, f.path); err != nil {
		f.t.Fatal(err)
	}
}

// awaitCount waits until s stands n times in the output.
func awaitCount(t *testing.T, out *output, s string, n int) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		out.mu.Lock()
		got, c := strings.Count(out.b.String(), s), out.c
		out.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-c:
		case <-timer.C:
			t.Fatalf("%q stands %d times in the output; want %d\n%s", s, got, n, out)
		}
	}
}

func TestReloadTakesRoutesAndListeners(t *testing.T) {
	a := startUpstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "a") })
	b := startUpstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "b") })
	sock := filepath.Join(t.TempDir(), "s")
	admin := "admin: http://127.0.0.1:0\n"
	f := newConfigFile(t, "listen: http://127.0.0.1:0\nto: "+a+"\n"+admin)
	p := startServe(t, "--config", f.path)
	url, operate := p.url(t, "http"), "http://"+p.out.await(t, "addr=http://")
	reload := func(wantCode int, want string) {
		t.Helper()
		reloadBy(t, operate, wantCode, want)
	}
	answers := func(path, want string) {
		t.Helper()
		if _, body := get(t, url+path); body != want {
			t.Errorf("%s: got %q; want %q", path, body, want)
		}
	}
	answers("/b", "a")
	f.write("listen: [http://127.0.0.1:0, 'unix://" + sock + "', 'h2tpc://127.0.0.1:0']\nroutes:\n  - {path: /b, to: '" + b + "'}\n  - {to: '" + a + "', timeout: 5s}\n" + admin)
	reload(200, "reloaded")
	answers("/b", "b")
	answers("/c", "a")
	if _, body := getBy(t, "unix", sock, "/b"); body != "b" {
		t.Errorf("the unix socket: got %q; want b", body)
	}
	_, page := get(t, operate+"/metrics")
	for _, want := range []string{`h2tp_exchanges_total{end="http",route="/b",method="GET",status="2xx"} 2`, "h2tp_config_last_reload_success 1", `{end="h2tpc",route="/b"`} {
		if !strings.Contains(page, want+"\n") && !strings.Contains(page, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}

	for text, want := range map[string]string{
		"listen: http://127.0.0.1:0\nto: " + a + "\n" + admin + "max-bodyy: 1\n":                                         ":4: max-bodyy: there is no such key",
		"listen: http://127.0.0.1:0\nto: " + a + "\nadmin: http://127.0.0.1:1\n":                                         ":3: admin: it was \"http://127.0.0.1:0\", and only a restart changes it",
		"listen: http://127.0.0.1:0\nto: " + a + "\n" + admin + "max-body: 1KiB\n":                                       ":4: max-body: it was \"off\", and only",
		"listen: http://127.0.0.1:0\nto: " + a + "\n":                                                                    ":1: admin: it was",
		"listen: [http://127.0.0.1:0, 'http://" + strings.TrimPrefix(operate, "http://") + "']\nto: " + a + "\n" + admin: ":1: listen: http://127.0.0.1:",
		"": ":1: nothing in it",
	} {
		f.write(text)
		reload(500, f.path+want)
		answers("/b", "b")
	}
	_, page = get(t, operate+"/metrics")
	if !strings.Contains(page, "h2tp_config_last_reload_success 0\n") || strings.Contains(page, `h2tp_config_reloads_total{result="refused"} 0`) {
		t.Error("the metrics say nothing of files that were refused")
	}

	f.write("listen: http://127.0.0.1:0\nto: " + b + "\n" + admin)
	reload(200, "reloaded")
	answers("/c", "b")
	if _, err := os.Stat(sock); !os.IsNotExist(err) {
		t.Errorf("the unix socket is still there: %v", err)
	}
	if _, page := get(t, operate+"/metrics"); strings.Contains(page, `end="h2tpc"`) {
		t.Error("an end without listeners is still in the metrics")
	}
}

// Who may connect changes without a new socket, and for a listener by itself.
func TestReloadTakesWhoMayConnect(t *testing.T) {
	up := startUpstream(t, hello)
	rest := "\nto: " + up + "\nadmin: http://127.0.0.1:0\ndeny: 127.0.0.0/8\n"
	f := newConfigFile(t, "listen: http://127.0.0.1:0;allow=127.0.0.1;allow=::1"+rest)
	p := startServe(t, "--config", f.path)
	url, operate := p.url(t, "http"), "http://"+p.out.await(t, "addr=http://")
	reload := func(listen string) {
		t.Helper()
		f.write("listen: " + listen + rest)
		if resp, body := do(t, newClient(t), newRequest(t, "POST", operate+"/reload", nil)); resp.StatusCode != 200 {
			t.Fatalf("reload: got %d %s", resp.StatusCode, body)
		}
	}
	wantRefusal := func() {
		t.Helper()
		if resp, err := newClient(t).Get(url); err == nil {
			resp.Body.Close()
			t.Errorf("got %d; want the connection closed", resp.StatusCode)
		}
	}
	wantHello(t, url)
	reload("http://127.0.0.1:0;deny=127.0.0.1")
	wantRefusal()
	reload("http://127.0.0.1:0;deny=192.0.2.0/24")
	wantHello(t, url)
	reload("http://127.0.0.1:0")
	wantRefusal()
	if _, page := get(t, operate+"/metrics"); !strings.Contains(page, `h2tp_refused_connections_total{end="http",reason="address"} 2`+"\n") {
		t.Errorf("the metrics lack two refusals")
	}
}

// reloadBy orders a reload and wants an answer.
func reloadBy(t *testing.T, admin string, wantCode int, want string) {
	t.Helper()
	resp, body := do(t, newClient(t), newRequest(t, "POST", admin+"/reload", nil))
	if resp.StatusCode != wantCode || !strings.Contains(body, want) {
		t.Errorf("reload: got %d %s; want %d %s", resp.StatusCode, body, wantCode, want)
	}
}

// A listener takes the place of one that goes with the same port, on more addresses or by another scheme; where something else is wrong
// the old one is there as before.
func TestReloadMovesAListener(t *testing.T) {
	up := startUpstream(t, hello)
	taken := startUpstream(t, hello)
	rest := "\nto: " + up + "\nadmin: http://127.0.0.1:0\n"
	f := newConfigFile(t, "listen: http://127.0.0.1:0"+rest)
	p := startServe(t, "--config", f.path)
	url, operate := p.url(t, "http"), "http://"+p.out.await(t, "addr=http://")
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	client := newClient(t) // on a connection of the first
	asks := func() {
		t.Helper()
		if resp, body := do(t, client, newRequest(t, "GET", url+"/x", nil)); resp.StatusCode != 200 || body != "hello /x" {
			t.Errorf("on a connection that was there: got %d %q", resp.StatusCode, body)
		}
	}
	asks()
	f.write("listen: ['http://0.0.0.0:" + port + "', '" + taken + "']" + rest)
	reloadBy(t, operate, 500, ":1: listen: "+taken+": ")
	asks()
	wantHello(t, url)
	f.write("listen: http://0.0.0.0:" + port + rest)
	reloadBy(t, operate, 200, "reloaded")
	asks()
	wantHello(t, url)
	f.write("listen: h2tpc://127.0.0.1:" + port + rest)
	reloadBy(t, operate, 200, "reloaded")
	front := startServe(t, "--listen", "http://127.0.0.1:0", "--to", "h2tpc://127.0.0.1:"+port)
	wantHello(t, front.url(t, "http"))
	f.write("listen: http://127.0.0.1:" + port + rest)
	reloadBy(t, operate, 200, "reloaded")
	wantHello(t, url)
}

// What a start refuses, and what it warns of, a reload does.
func TestAReloadChecksAndWarnsAsAStart(t *testing.T) {
	ca := newAuthority(t)
	pem := writePEM(t, ca, "127.0.0.1")
	rest := "to: http://127.0.0.1:1\nadmin: http://127.0.0.1:0\ncert: " + pem.cert + "\nkey: " + pem.key + "\n"
	f := newConfigFile(t, "listen: https://127.0.0.1:0\n"+rest)
	p := startServe(t, "--config", f.path)
	operate := "http://" + p.out.await(t, "addr=http://")
	f.write("listen: [https://127.0.0.1:0, https://localhost:0]\n" + rest)
	reloadBy(t, operate, 500, f.path+":4: cert: no certificate has the name localhost of https://localhost:0")
	if strings.Contains(p.out.String(), "INSECURE") {
		t.Errorf("got log %s", p.out)
	}
	f.write("listen: [https://127.0.0.1:0, h2tpc://:0]\n" + rest)
	reloadBy(t, operate, 200, "reloaded")
	f.write("listen: [https://127.0.0.1:0, h2tpc://:0]\nroutes: [{path: /x, to: 'h2tpc://192.0.2.1:1'}]\n" + rest)
	reloadBy(t, operate, 200, "reloaded")
	for _, url := range []string{"h2tpc://:0", "h2tpc://192.0.2.1:1"} {
		if n := strings.Count(p.out.String(), `level=WARN msg="INSECURE: the hop of `+url+` is in the clear`); n != 1 {
			t.Errorf("%s: said %d times; want once:\n%s", url, n, p.out)
		}
	}
}

func TestAReloadSaysWhatIsWrongWithTheToken(t *testing.T) {
	file := writeToken(t, "0123456789abcdef")
	p := startServe(t, "--listen", "h2tpc://127.0.0.1:0", "--to", "http://127.0.0.1:1", "--token-file", file, "--admin", "http://127.0.0.1:0")
	operate := "http://" + p.out.await(t, "addr=http://")
	writeFile(t, file, []byte("short"))
	reloadBy(t, operate, 500, "token not reloaded, the old one stays: "+file+": line 1 has 5 bytes")
	writeFile(t, file, []byte("another-token-of-mine"))
	reloadBy(t, operate, 200, "reloaded")
}

// getBy asks by a socket.
func getBy(t *testing.T, network, addr, path string) (int, string) {
	t.Helper()
	tr := &http.Transport{DialContext: dialAlways(network, addr)}
	defer tr.CloseIdleConnections()
	resp, body := do(t, &http.Client{Transport: tr, Timeout: patience}, newRequest(t, "GET", "http://x"+path, nil))
	return resp.StatusCode, body
}

// A changed file is read without an order; one that is refused is named once, and tried again.
func TestAFileThatChangesIsRead(t *testing.T) {
	a := startUpstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "a") })
	f := newConfigFile(t, "listen: http://127.0.0.1:0\nto: "+a+"\n")
	p := startServe(t, "--config", f.path)
	f.write("listen: http://127.0.0.1:0\nroutes: [{path: /x, to: '" + a + "'}]\n")
	p.out.await(t, "configuration reloaded")
	if code, _ := get(t, p.url(t, "http")+"/"); code != 404 {
		t.Errorf("got %d of a route that is gone; want 404", code)
	}
	f.write("listen: http://127.0.0.1:0\nto")
	p.out.await(t, "configuration not reloaded")
	f.write("listen: http://127.0.0.1:0\nto: " + a + "\nlog-level: debug\n")
	awaitCount(t, p.out, "configuration reloaded", 2)
	if n := strings.Count(p.out.String(), "configuration not reloaded"); n != 1 {
		t.Errorf("a file that is wrong is named %d times; want once\n%s", n, p.out)
	}
	if err := signalTo(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	awaitCount(t, p.out, "configuration reloaded", 3)
}

func TestTheExamplesOfTheFileAreTaken(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(readme), "## Configuration file\n")
	var lines []string
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "    "); ok {
			lines = append(lines, rest)
		} else if len(lines) > 0 {
			break
		}
	}
	example, err := os.ReadFile("../../deploy/h2tp.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"README.md": strings.Join(lines, ""), "deploy/h2tp.yaml": string(example)} {
		if code, _, errs := checkWith(t, "--config", writeConfig(t, text)); code != 0 || strings.Count(text, "\n") < 8 {
			t.Errorf("%s: code %d, %s\n%s", name, code, errs, text)
		}
		if err := validateFile(t, []byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

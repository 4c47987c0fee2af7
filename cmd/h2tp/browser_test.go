package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// tab is one of Chromium's, driven by its DevTools protocol over one WebSocket.
type tab struct {
	t       *testing.T
	c       *websocket.Conn
	session string
	donec   chan struct{} // readLoop has ended

	mu       sync.Mutex // guards all below
	next     int
	waiting  map[int]chan devMessage
	errors   []string // of the console, of scripts and of the security policy
	requests []string // URLs
}

// devMessage is a command, its answer or an event.
type devMessage struct {
	ID      int                       `json:"id,omitempty"`
	Session string                    `json:"sessionId,omitempty"`
	Method  string                    `json:"method,omitempty"`
	Params  any                       `json:"params,omitempty"`
	Result  json.RawMessage           `json:"result,omitempty"`
	Error   *struct{ Message string } `json:"error,omitempty"`
}

type object = map[string]any

// openTab starts Chromium with one tab, which is empty.
func openTab(t *testing.T) *tab {
	t.Helper()
	out := startBrowser(t, program(t, "chromium", "chromium-browser", "google-chrome"), "--remote-debugging-port=0", "about:blank")
	c, _, err := websocket.Dial(t.Context(), "ws://"+out.await(t, "DevTools listening on ws://"), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	b := &tab{t: t, c: c, waiting: make(map[int]chan devMessage), donec: make(chan struct{})}
	go b.readLoop()
	t.Cleanup(func() {
		c.CloseNow()
		<-b.donec
	})
	target := ask[struct{ TargetID string }](b, "Target.createTarget", object{"url": "about:blank"}).TargetID
	b.session = ask[struct{ SessionID string }](b, "Target.attachToTarget", object{"targetId": target, "flatten": true}).SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		ask[struct{}](b, domain+".enable", nil)
	}
	return b
}

func (b *tab) readLoop() {
	defer close(b.donec)
	for {
		var m struct {
			devMessage
			Params json.RawMessage `json:"params"`
		}
		if err := wsjson.Read(b.t.Context(), b.c, &m); err != nil {
			return
		}
		b.mu.Lock()
		if answer := b.waiting[m.ID]; answer != nil {
			delete(b.waiting, m.ID)
			answer <- m.devMessage
		}
		b.noteLocked(m.Method, m.Params)
		b.mu.Unlock()
	}
}

// noteLocked keeps of the events what a page is judged by.
func (b *tab) noteLocked(method string, params json.RawMessage) {
	var p struct {
		Type             string
		Args             []struct{ Description, Value any }
		Entry            struct{ Level, Source, Text, URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Request struct{ URL string }
	}
	switch json.Unmarshal(params, &p); method {
	case "Runtime.consoleAPICalled":
		if p.Type == "error" || p.Type == "warning" {
			b.errors = append(b.errors, fmt.Sprint(p.Type, p.Args))
		}
	case "Runtime.exceptionThrown":
		b.errors = append(b.errors, p.ExceptionDetails.Text+" "+p.ExceptionDetails.Exception.Description)
	case "Log.entryAdded":
		if p.Entry.Level == "error" {
			b.errors = append(b.errors, p.Entry.Source+": "+p.Entry.Text+" "+p.Entry.URL)
		}
	case "Network.requestWillBeSent":
		b.requests = append(b.requests, p.Request.URL)
	}
}

// ask gives a command and waits for its answer.
func ask[T any](b *tab, method string, params any) (to T) {
	b.t.Helper()
	answerc := make(chan devMessage, 1)
	b.mu.Lock()
	b.next++
	m := devMessage{ID: b.next, Session: b.session, Method: method, Params: params}
	b.waiting[m.ID] = answerc
	b.mu.Unlock()
	if err := wsjson.Write(b.t.Context(), b.c, m); err != nil {
		b.t.Fatal(method, ": ", err)
	}
	answer := await(b.t, answerc, method)
	if answer.Error != nil {
		b.t.Fatal(method, ": ", answer.Error.Message)
	}
	if err := json.Unmarshal(answer.Result, &to); err != nil {
		b.t.Fatal(method, ": ", err)
	}
	return to
}

// eval returns what a JavaScript expression, or the promise that it makes, comes to.
func eval[T any](b *tab, expression string) (to T) {
	b.t.Helper()
	got := ask[struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}](b, "Runtime.evaluate", object{"expression": expression, "awaitPromise": true, "returnByValue": true})
	if got.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, got.ExceptionDetails.Exception.Description)
	}
	if v := got.Result.Value; len(v) > 0 {
		if err := json.Unmarshal(v, &to); err != nil {
			b.t.Fatalf("%s: %v: %s", expression, err, v)
		}
	}
	return to
}

// until waits for an expression to be true.
func (b *tab) until(expression string) {
	b.t.Helper()
	const script = `new Promise((resolve) => {
		const late = performance.now() + %d;
		const id = setInterval(() => {
			if (!(%s) && performance.now() < late) return;
			clearInterval(id);
			resolve(Boolean(%[2]s));
		}, 20);
	})`
	if !eval[bool](b, fmt.Sprintf(script, patience.Milliseconds()*3/4, expression)) {
		b.t.Fatalf("never: %s; the page is\n%s", expression, eval[string](b, "document.body.innerText"))
	}
}

// open shows a page.
func (b *tab) open(url string) {
	b.t.Helper()
	ask[struct{}](b, "Page.navigate", object{"url": url})
	b.until("location.href === " + string(jsonOf(url)) + " && document.readyState === 'complete'")
}

func jsonOf(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// be makes the tab's window a device's.
func (b *tab) be(width, height int, scheme string) {
	b.t.Helper()
	ask[struct{}](b, "Emulation.setDeviceMetricsOverride", object{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
	ask[struct{}](b, "Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}})
}

// complaints returns the errors so far but for those that have a text in them, and forgets them.
func (b *tab) complaints(but string) (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.errors {
		if but == "" || !strings.Contains(e, but) {
			list = append(list, e)
		}
	}
	b.errors = nil
	return list
}

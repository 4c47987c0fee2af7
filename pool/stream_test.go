package pool

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// streamPair is a stream as its client and its server have it.
func streamPair(t *testing.T) (client, server *Stream) {
	t.Helper()
	cl, srv := pair(t, ServerConfig{}, ClientConfig{})
	opened := make(chan error, 1)
	go func() {
		var err error
		client, err = cl.Open(t.Context(), Header{Path: "/"}, nil)
		opened <- err
	}()
	server, err := srv.Accept(t.Context())
	if err := errors.Join(err, <-opened); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// Each direction ends by itself, whoever ends first.
func TestDirectionsEndByThemselves(t *testing.T) {
	for _, isClientFirst := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			a, b := streamPair(t)
			if !isClientFirst {
				a, b = b, a
			}
			a.Write([]byte("last words"))
			a.CloseWrite()
			if got, err := io.ReadAll(b); string(got) != "last words" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			if _, err := a.Write([]byte("x")); err != ErrClosed {
				t.Errorf("Write after CloseWrite: got %v; want ErrClosed", err)
			}
			for range 3 { // the other direction is as it was
				b.Write([]byte("answer"))
				buf := make([]byte, 6)
				if _, err := io.ReadFull(a, buf); string(buf) != "answer" || err != nil {
					t.Errorf("got %q, %v", buf, err)
				}
				time.Sleep(time.Minute)
			}
			b.CloseWrite()
			if _, err := a.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("got %v; want EOF", err)
			}
			<-a.Done()
			<-b.Done()
			if a.Err() != io.EOF || b.Err() != io.EOF {
				t.Errorf("got %v, %v; want EOF", a.Err(), b.Err())
			}
		})
	}
}

// A reset ends both directions at both ends, and its code arrives.
func TestResetCodeArrives(t *testing.T) {
	for _, isClient := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			a, b := streamPair(t)
			if !isClient {
				a, b = b, a
			}
			a.Reset(0xb)
			for s, isLocal := range map[*Stream]bool{a: true, b: false} {
				_, err := s.Read(make([]byte, 1))
				re, ok := errors.AsType[*ResetError](err)
				if !ok || re.Code != 0xb || re.Local != isLocal {
					t.Errorf("got %v; want a reset with ENHANCE_YOUR_CALM, local %v", err, isLocal)
				}
				if _, werr := s.Write([]byte("x")); !errors.Is(werr, err) {
					t.Errorf("Write: got %v; want %v", werr, err)
				}
			}
		})
	}
}

// Every Read and every Write that waits is told of the end, and of the deadline.
func TestAllWhoWaitAreTold(t *testing.T) {
	for name, end := range map[string]func(a, b *Stream){
		"deadline":     func(a, _ *Stream) { a.SetDeadline(time.Now().Add(time.Second)) },
		"reset":        func(a, _ *Stream) { a.Reset(0x8) },
		"peer's reset": func(_, b *Stream) { b.Reset(0x8) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := streamPair(t)
				told := make(chan error, 4)
				for range 3 {
					go func() {
						_, err := a.Read(make([]byte, 1))
						told <- err
					}()
				}
				go func() {
					_, err := a.Write(make([]byte, 1<<20))
					told <- err
				}()
				time.Sleep(time.Second)
				end(a, b)
				for range cap(told) {
					if err := <-told; err == nil || err == io.EOF {
						t.Errorf("got %v; want an error", err)
					}
				}
			})
		})
	}
}

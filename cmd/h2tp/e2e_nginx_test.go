package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const nginxConf = `
daemon off;
%s
pid DIR/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	client_body_temp_path DIR/tmp;
	proxy_temp_path DIR/tmp;
	fastcgi_temp_path DIR/tmp;
	uwsgi_temp_path DIR/tmp;
	scgi_temp_path DIR/tmp;
	access_log off;
	client_max_body_size 0;
	keepalive_requests 7;
	large_client_header_buffers 4 64k;
	server {
		listen ADDR;
		root DIR/www;
		location /echo { return 200 "$request_method $request_uri $http_host\n"; }
		location /cookie { return 200 "$http_cookie"; }
		location /nothing { return 204; }
		location /moved { return 301 /page.txt; }
		location /up/ { dav_methods PUT DELETE; }
		location /small/ { client_max_body_size 1m; dav_methods PUT; }
		location /gzip/ { gzip on; gzip_proxied any; gzip_types text/plain; gzip_min_length 0; alias DIR/www/; }
	}
}
`

// startNginx starts nginx with a directory of files, and returns its URL.
func startNginx(t *testing.T, dir string) string {
	t.Helper()
	path := program(t, "nginx")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	conf := strings.NewReplacer("DIR", dir, "ADDR", addr).Replace(fmt.Sprintf(nginxConf, user))
	for name, content := range map[string]string{"nginx.conf": conf, "tmp/x": "", "www/up/x": "", "www/small/x": "", "www/page.txt": strings.Repeat("a line of a page\n", 3000)} {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spawn(t, path, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return "http://" + addr
		}
		if time.Now().After(end) {
			t.Fatal("nginx does not answer")
		}
	}
}

func TestEndToEndNginx(t *testing.T) {
	dir := t.TempDir()
	up := startNginx(t, dir)
	const size = 8 << 20
	large, err := os.Create(filepath.Join(dir, "www/large.bin"))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(large, newContent(1, size))
	large.Close()
	for _, s := range spans {
		t.Run(s.scheme+"/"+s.codec, func(t *testing.T) {
			url := "http://" + s.start(t, up)
			client := newClient(t)
			checkNginxReads(t, client, up, url)
			checkNginxRanges(t, client, url, size)
			checkNginxUploads(t, client, url, filepath.Join(dir, "www"))
		})
	}
}

// checkNginxReads compares what comes through the pair with what comes from nginx itself.
func checkNginxReads(t *testing.T, client *http.Client, up, url string) {
	cookie := strings.Repeat("c=0123456789abcde;", 16<<10/18)
	resp, _ := do(t, client, newRequest(t, "GET", up+"/page.txt", nil))
	etag := resp.Header.Get("ETag")
	var wg sync.WaitGroup
	for range 20 { // nginx closes each connection after 7
		wg.Go(func() {
			for _, line := range []string{"GET /page.txt", "HEAD /page.txt", "HEAD /large.bin", "GET /nothing", "GET /moved", "GET /none", "POST /page.txt", "DELETE /page.txt",
				"GET //echo//x?", "GET /echo/%2F;a?b=%20&&", "GET /cookie", "GET /page.txt if"} {
				words := strings.Fields(line)
				var got [2]string
				for i, base := range []string{up, url} {
					req, _ := http.NewRequest(words[0], base+words[1], nil)
					req.Host = "a.example"
					req.Header.Set("Cookie", cookie)
					if len(words) > 2 {
						req.Header.Set("If-None-Match", etag)
					}
					resp, err := client.Do(req)
					if err != nil {
						t.Errorf("%s: %v", line, err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					h := resp.Header
					h.Del("Date")
					h.Del("Connection")
					got[i] = fmt.Sprint(resp.StatusCode, h, resp.ContentLength, string(body), err)
				}
				if got[0] != got[1] {
					t.Errorf("%s: got %.300q; nginx itself says %.300q", line, got[1], got[0])
					return
				}
			}
		})
	}
	wg.Wait()
}

func checkNginxRanges(t *testing.T, client *http.Client, url string, size int) {
	resp, err := client.Get(url + "/large.bin")
	if err != nil {
		t.Fatal(err)
	}
	got, err := checksum(resp.Body)
	resp.Body.Close()
	if err != nil || got != contentSum(1, size) || resp.ContentLength != int64(size) {
		t.Errorf("large.bin: got %s, %v, length %d", got, err, resp.ContentLength)
	}
	all, _ := io.ReadAll(newContent(1, size))
	for _, r := range [][2]int{{0, 0}, {1000, 1999}, {100_000, 1_000_000}, {size - 1, size - 1}} {
		req := newRequest(t, "GET", url+"/large.bin", nil)
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r[0], r[1]))
		resp, body := do(t, client, req)
		if want := string(all[r[0] : r[1]+1]); resp.StatusCode != 206 || body != want {
			t.Errorf("range %v: got %d, %d bytes; want 206, %d", r, resp.StatusCode, len(body), len(want))
		}
	}
	req := newRequest(t, "GET", url+"/gzip/page.txt", nil)
	req.Header.Set("Accept-Encoding", "gzip")
	resp, body := do(t, client, req)
	zr, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatalf("got %v, %v", resp.Header, err)
	}
	if page, err := io.ReadAll(zr); err != nil || len(page) != 17*3000 {
		t.Errorf("compressed page: got %d bytes, %v", len(page), err)
	}
}

func checkNginxUploads(t *testing.T, client *http.Client, url, dir string) {
	for i, size := range []int{0, 1000, 64 << 10, 3 << 20} {
		for _, length := range []int64{int64(size), -1} {
			seed := byte(10 + i)
			req := newRequest(t, "PUT", url+"/up/file", newContent(seed, size))
			if req.ContentLength = length; length == 0 {
				req.Body = http.NoBody
			}
			if resp, body := do(t, client, req); resp.StatusCode/100 != 2 {
				t.Errorf("upload of %d, length %d: got %d %s", size, length, resp.StatusCode, body)
				continue
			}
			file, err := os.Open(filepath.Join(dir, "up/file"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := checksum(file); err != nil || got != contentSum(seed, size) {
				t.Errorf("upload of %d, length %d: nginx stored other bytes, %v", size, length, err)
			}
			file.Close()
		}
	}
	// One that nginx does not want is answered before it is all sent.
	req := newRequest(t, "PUT", url+"/small/file", newContent(1, 2<<20))
	req.ContentLength = 2 << 20
	req.Header.Set("Expect", "100-continue")
	if resp, _ := do(t, client, req); resp.StatusCode != 413 {
		t.Errorf("got %d; want 413", resp.StatusCode)
	}
	if resp, _ := do(t, client, newRequest(t, "DELETE", url+"/up/file", nil)); resp.StatusCode != 204 {
		t.Errorf("got %d; want 204", resp.StatusCode)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
)

// The pairs of Debian's packages, each end one process that serves: more would only
// cost more CPU an exchange. Their logs of requests are off, their connections kept.

const nginxText = `
USER
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid DIR/NAME.pid;
error_log stderr crit;
events { worker_connections 16000; }
http {
	client_body_temp_path DIR/tmp;
	proxy_temp_path DIR/tmp;
	fastcgi_temp_path DIR/tmp;
	uwsgi_temp_path DIR/tmp;
	scgi_temp_path DIR/tmp;
	access_log off;
	keepalive_requests 1000000000;
	upstream to {
		server TO;
		keepalive 5000;
		keepalive_requests 1000000000;
	}
	server {
		listen LISTEN backlog=4096;
		FLAGS
		location / {
			proxy_pass SCHEME://to;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
			THERE
		}
	}
}
`

func nginxConf(values ...string) string { return strings.NewReplacer(values...).Replace(nginxText) }

func (w *world) startNginx(p *peer, isTLS, isGzip bool) error {
	hop, front := w.onLink(), w.onLoopback()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	back, to, there, listen, scheme := "", "", "", hop, "http"
	if isGzip {
		// The front asks for gzip on everyone's behalf, and undoes it.
		back = "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;"
		to, there = "gunzip on;", "proxy_set_header Accept-Encoding gzip;"
	}
	if isTLS {
		back += "ssl_certificate " + w.path("tls/back.pem") + "; ssl_certificate_key " + w.path("tls/back-key.pem") + ";"
		to += "proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_trusted_certificate " + w.path("tls/ca.pem") + ";"
		listen, scheme = hop+" ssl", "https"
	}
	ends := []struct{ role, addr, conf string }{
		{"back", hop, nginxConf("LISTEN", listen, "TO", w.upAddr, "SCHEME", "http", "FLAGS", back, "THERE", "", "USER", user, "DIR", w.dir, "NAME", p.name+"-back")},
		{"front", front, nginxConf("LISTEN", front, "TO", hop, "SCHEME", scheme, "FLAGS", to, "THERE", there, "USER", user, "DIR", w.dir, "NAME", p.name+"-front")},
	}
	if err := os.MkdirAll(w.path("tmp"), 0o755); err != nil {
		return err
	}
	for i, e := range ends {
		file := w.path(p.name + "-" + e.role + ".conf")
		if err := os.WriteFile(file, []byte(e.conf), 0o600); err != nil {
			return err
		}
		if err := w.startEnd(p, []side{w.far, w.near}[i], e.role, e.addr, sbin("nginx"), "-p", w.dir, "-c", file); err != nil {
			return err
		}
	}
	return nil
}

const haproxyText = `
global
	nbthread 1
	maxconn 9000
defaults
	mode http
	maxconn 9000
	timeout connect 5s
	timeout client 1m
	timeout server 1m
	option http-no-delay
	http-reuse always
	option forwardfor
listen all
	bind LISTEN
	server to TO
`

func haproxyConf(listen, to string) string {
	return strings.NewReplacer("LISTEN", listen, "TO", to).Replace(haproxyText)
}

func (w *world) startHAProxy(p *peer, isTLS bool) error {
	hop, front := w.onLink(), w.onLoopback()
	listen, to := hop+" proto h2", hop+" proto h2"
	if isTLS {
		listen = hop + " ssl crt " + w.path("tls/both.pem") + " alpn h2"
		to = hop + " ssl verify required verifyhost localhost ca-file " + w.path("tls/ca.pem") + " alpn h2"
	}
	ends := []struct{ role, addr, conf string }{
		{"back", hop, haproxyConf(listen, w.upAddr)},
		{"front", front, haproxyConf(front, to)},
	}
	for i, e := range ends {
		file := w.path(p.name + "-" + e.role + ".cfg")
		if err := os.WriteFile(file, []byte(e.conf), 0o600); err != nil {
			return err
		}
		if err := w.startEnd(p, []side{w.far, w.near}[i], e.role, e.addr, sbin("haproxy"), "-db", "-f", file); err != nil {
			return err
		}
	}
	return nil
}

// sbin is a program that may stand where only root's PATH leads.
func sbin(name string) string {
	path := filepath.Join("/usr/sbin", name)
	if _, err := os.Stat(path); err != nil {
		return name
	}
	return path
}

package main

import "fmt"

var (
	agents = []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Linux; Android 15; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
		"Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
		"okhttp/5.1.0", "python-requests/2.32.4", "Go-http-client/1.1",
	}
	languages  = []string{"en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.6", "fr-FR,fr;q=0.8", "es-ES,es;q=0.9", "pl-PL,pl;q=0.9,en-US;q=0.8", "ja-JP"}
	countries  = []string{"USA", "DEU", "FRA", "GBR", "ESP", "POL", "JPN", "BRA", "IND", "CAN"}
	cities     = []string{"Berlin", "Austin", "Lyon", "Leeds", "Sevilla", "Gdansk", "Osaka", "Recife", "Pune", "Ottawa", "Boston", "Hamburg"}
	currencies = []string{"EUR", "USD", "GBP", "PLN"}
	states     = []string{"active", "paused", "pending", "closed", "archived"}
	makes      = []string{"Apple", "Samsung", "Google", "Xiaomi", "OnePlus", "Sony"}
	words      = []string{
		"steel", "garden", "lamp", "blue", "walnut", "compact", "folding", "cable", "chair", "kettle", "wireless", "speaker", "cotton",
		"shirt", "large", "outdoor", "tent", "ceramic", "mug", "mountain", "bike", "helmet", "desk", "stand", "travel", "bag", "leather",
		"wallet", "classic", "running", "shoes", "kitchen", "knife", "set", "glass", "bottle", "winter", "jacket", "solar", "charger",
		"battery", "pack", "paper", "notebook", "silver", "ring", "pillow", "soft", "blanket", "round", "table", "small", "mirror",
	}
)

// fields are those of a client with a session.
func (g *gen) fields(request string) []byte {
	return fmt.Appendf(nil, "%s HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: %s\r\nAccept: application/json\r\nAccept-Language: %s\r\nAuthorization: Bearer %s\r\nX-Request-Id: %s\r\n",
		request, g.pick(agents), g.pick(languages), g.pick(g.sessions), g.uuid())
}

func (g *gen) ok(control string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: api/2.14.1\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json; charset=utf-8\r\nCache-Control: %s\r\nX-Request-Id: %s\r\n",
		control, g.uuid())
}

// makeTiny is a GET of a few dozen bytes.
func makeTiny(g *gen) (string, []byte, []byte, []byte, []byte) {
	id := g.uuid()
	target := fmt.Sprintf("/api/v1/users/%s/status?ts=%d&sig=%s", id, g.millis(), g.hex(8))
	body := fmt.Appendf(nil, `{"id":"%s","state":"%s","seq":%d}`, id, g.pick(states), g.IntN(1e6))
	return target, g.fields("GET " + target), nil, g.ok("no-store"), body
}

// makeItems is a GET of a page of JSON items, 0.5 to 8 KB, 3.5 on average.
func makeItems(g *gen) (string, []byte, []byte, []byte, []byte) {
	u := g.Float64()
	size := 512 + int(7400*u*u/(0.3+0.7*u))
	target := fmt.Sprintf("/api/v2/shops/%d/items?limit=%d&cursor=%s", g.IntN(900)+100, size/250, g.base64(18))
	body := fmt.Appendf(nil, `{"page":%d,"next":"%s","items":[`, g.IntN(40), g.base64(18))
	for n := 0; len(body) < size-200; n++ {
		if n > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"id":"%s","sku":"%c%c-%06d","name":"%s","price":{"amount":%d.%02d,"currency":"%s"},"stock":%d,"rating":%d.%d,"state":"%s","tags":["%s","%s"],"updated_at":"2026-%02d-%02dT%02d:%02d:%02dZ","image":"https://cdn.example.com/i/%s.jpg"}`,
			g.uuid(), 'A'+g.IntN(26), 'A'+g.IntN(26), g.IntN(1e6), g.words(2+g.IntN(4)), g.IntN(300), g.IntN(100), g.pick(currencies), g.IntN(500),
			g.IntN(5), g.IntN(10), g.pick(states), g.pick(words), g.pick(words), 1+g.IntN(12), 1+g.IntN(28), g.IntN(24), g.IntN(60), g.IntN(60), g.hex(10))
	}
	body = append(body, "]}"...)
	return target, g.fields("GET " + target), nil, append(g.ok("private, max-age=5"), fmt.Sprintf("ETag: \"%s\"\r\n", g.hex(8))...), body
}

// makeRTB is a bid request by OpenRTB 2.5, answered by a bid, or in one of four by none.
func makeRTB(g *gen) (string, []byte, []byte, []byte, []byte) {
	id, imp := g.uuid(), g.hex(4)
	site := g.IntN(400)
	request := fmt.Appendf(nil, `{"id":"%s","imp":[{"id":"%s","banner":{"w":%d,"h":250,"pos":%d},"tagid":"slot-%d","bidfloor":0.%02d,"bidfloorcur":"USD","secure":1}],"site":{"id":"%d","domain":"news%d.example.com","page":"https://news%d.example.com/%s/%d","publisher":{"id":"pub-%d"}},"device":{"ua":"%s","ip":"%d.%d.%d.0","geo":{"country":"%s","city":"%s"},"make":"%s","language":"en","devicetype":%d},"user":{"id":"%s","buyeruid":"%s"},"at":1,"tmax":%d,"cur":["USD"]}`,
		id, imp, []int{300, 320, 728}[g.IntN(3)], g.IntN(4), g.IntN(3000), g.IntN(100), site, site, site, g.pick(words), g.IntN(1e6), site/4,
		g.pick(agents), g.IntN(223), g.IntN(256), g.IntN(256), g.pick(countries), g.pick(cities), g.pick(makes), 1+g.IntN(5), g.hex(16), g.base64(16), 80+10*g.IntN(8))
	reqHead := []byte("POST /openrtb2/bid?seat=x7 HTTP/1.1\r\nHost: bidder.example.com\r\nContent-Type: application/json\r\nX-Openrtb-Version: 2.5\r\nAccept: application/json\r\n")
	if g.IntN(4) == 0 {
		return id, reqHead, request, fmt.Appendf(nil, "HTTP/1.1 204 No Content\r\nServer: bidder/3.2\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nX-Nbr: %d\r\n", g.IntN(10)), nil
	}
	crid, bid := g.IntN(20000), g.uuid()
	body := fmt.Appendf(nil, `{"id":"%s","seatbid":[{"bid":[{"id":"%s","impid":"%s","price":%d.%04d,"adid":"%d","nurl":"https://win.example.com/w?b=%s&p=${AUCTION_PRICE}&k=%s","adomain":["brand%d.example"],"crid":"c-%d","cat":["IAB%d-%d"],"w":300,"h":250,"exp":300}],"seat":"x7"}],"bidid":"%s","cur":"USD"}`,
		id, bid, imp, g.IntN(6), g.IntN(1e4), crid, bid, g.base64(24), crid%300, crid, 1+g.IntN(25), 1+g.IntN(9), g.hex(6))
	return id, reqHead, request, []byte("HTTP/1.1 200 OK\r\nServer: bidder/3.2\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json\r\nX-Openrtb-Version: 2.5\r\n"), body
}

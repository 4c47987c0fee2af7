package proxy

import (
	"fmt"

	"github.com/h2tp/h2tp/proxy/internal/balance"
)

// ToList are destinations as they stand in Config.To, each checked as it is added. The zero value has none. It must not be
// used concurrently.
type ToList struct {
	seen map[string]string // URLs, by what is dialled
}

// Add adds one, or those of a file, and returns what was added. Its error says what is wrong, by itself or beside those that are
// there, and of a file in which line.
func (l *ToList) Add(to string) ([]string, error) {
	lines := []toLine{{text: to}}
	if isFile(to) {
		var err error
		if lines, err = readTo(to); err != nil {
			return nil, err
		}
	}
	list := make([]string, len(lines))
	for i, line := range lines {
		if _, _, err := l.add(line); err != nil {
			return nil, err
		}
		list[i] = line.text
	}
	return list, nil
}

func (l *ToList) add(line toLine) (d balance.Destination, end endpoint, err error) {
	if d, err = balance.ParseDestination(line.text); err == nil {
		if end, err = parseEndpoint(d.URL); err == nil && d.Every > 0 {
			err = checkLookup(&d, end)
		}
	}
	if err == nil {
		err = l.note(&d, end)
	}
	if err != nil {
		err = fmt.Errorf("%s%w", line.where, err)
	}
	return d, end, err
}

// note finds one that is there already, however it is written.
func (l *ToList) note(d *balance.Destination, end endpoint) error {
	switch first, isTwice := l.seen[end.key()]; {
	case isTwice && first == d.URL:
		return fmt.Errorf("%q is there twice; weight=N gives it more", d.URL)
	case isTwice:
		return fmt.Errorf("%q is there already, as %q; weight=N gives it more", d.URL, first)
	case len(l.seen) >= maxDests:
		return fmt.Errorf("%q is one too many; want %d destinations at most", d.URL, maxDests)
	case l.seen == nil:
		l.seen = make(map[string]string)
	}
	l.seen[end.key()] = d.URL
	return nil
}

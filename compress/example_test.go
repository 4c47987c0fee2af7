package compress_test

import (
	"fmt"
	"log"

	"github.com/h2tp/h2tp/compress"
)

func Example() {
	memory := compress.NewMemory(64 << 20)
	e, err := memory.NewEncoder(compress.Zstd, compress.EncoderOptions{})
	if err != nil {
		log.Fatal(err) // ErrMemory: go on with Snappy
	}
	defer e.Close()
	d, err := memory.NewDecoder(compress.Zstd, compress.DecoderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	var block, plain []byte // kept from block to block, so that nothing is allocated
	for i := range 3 {
		src := fmt.Appendf(nil, `{"id":%d,"text":"the context lasts from block to block"}`, i)
		if block, err = e.Encode(block[:0], src); err != nil {
			log.Fatal(err)
		}
		if plain, err = d.Decode(plain[:0], block, len(src)); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s, later blocks shorter: %v\n", plain, i == 0 || len(block) < len(src)/2)
	}
	// Output:
	// {"id":0,"text":"the context lasts from block to block"}, later blocks shorter: true
	// {"id":1,"text":"the context lasts from block to block"}, later blocks shorter: true
	// {"id":2,"text":"the context lasts from block to block"}, later blocks shorter: true
}

func ExampleEncoder_Reset() {
	memory := compress.NewMemory(0)
	e, _ := memory.NewEncoder(compress.Flate, compress.EncoderOptions{Level: compress.Better})
	defer e.Close()
	d, _ := memory.NewDecoder(compress.Flate, compress.DecoderOptions{})
	defer d.Close()

	e.Encode(nil, []byte("a block that is never sent"))
	e.Reset() // so the context has to begin anew, on both sides
	d.Reset()

	block, _ := e.Encode(nil, []byte("the next one"))
	plain, err := d.Decode(nil, block, len("the next one"))
	fmt.Printf("%s, %v\n", plain, err)
	// Output: the next one, <nil>
}

func ExampleParse() {
	id, err := compress.Parse("zstd")
	fmt.Println(id, uint8(id), err)
	_, err = compress.Parse("brotli")
	fmt.Println(err)
	// Output:
	// zstd 3 <nil>
	// compress: unknown codec "brotli"
}

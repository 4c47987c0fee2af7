// Package bench measures the whole path and the layers it is made of, each in
// the same run as its baseline. It holds benchmarks only; README.md has the
// method and the figures.
package bench

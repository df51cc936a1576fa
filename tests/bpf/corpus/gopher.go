// Go: goroutines on stacks of their own, which move; its own opinion is runtime.Callers.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const firstPoint = 7000000

var (
	sink  *os.File
	lock  sync.Mutex
	lines strings.Builder
	count uintptr
)

//go:noinline
func mark() {
	var pcs [600]uintptr
	lock.Lock()
	n := count
	count++
	taken := runtime.Callers(1, pcs[:])
	fmt.Fprintf(&lines, "point %d %d", os.Getpid(), n)
	for _, pc := range pcs[:taken] {
		fmt.Fprintf(&lines, " %x", pc)
	}
	fmt.Fprintln(&lines)
	lock.Unlock()
	var b byte
	b = 1
	rawWrite(sink.Fd(), &b, firstPoint+n)
}

//go:noinline
func down(depth int) int {
	if depth == 0 {
		mark()
		return 0
	}
	return down(depth-1) + 1
}

type shape interface{ area(int) int }
type square struct{}

//go:noinline
func (square) area(n int) int { return down(n) * 2 }

func main() {
	sink, _ = os.OpenFile("/dev/zero", os.O_WRONLY, 0)
	time.Sleep(100 * time.Millisecond)
	down(100)
	var s shape = square{}
	s.area(4)
	var all sync.WaitGroup
	for i := 0; i < 4; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			down(i * 10)
		}(i)
	}
	all.Wait()
	func() {
		defer func() {
			recover()
			mark()
		}()
		panic("here")
	}()
	maps, _ := os.ReadFile("/proc/self/maps")
	var out strings.Builder
	for _, line := range strings.SplitAfter(string(maps), "\n") {
		if line != "" {
			out.WriteString("map " + line)
		}
	}
	os.WriteFile(os.Args[len(os.Args)-1], []byte(out.String()+lines.String()), 0o644)
}

var _ = syscall.SYS_WRITE

package main

import (
	"syscall"
	"unsafe"
)

//go:noinline
func rawWrite(fd uintptr, b *byte, amount uintptr) {
	syscall.Syscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(b)), amount)
}

package runtimeapi

import (
	"bytes"
	"os"
	"strconv"
)

// memoryOf returns the resident memory of a process in bytes, now and at its
// peak, or zeros if it is gone.
func memoryOf(pid int) (now, peak int64) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, 0
	}
	return kilobytes(status, "\nVmRSS:") << 10, kilobytes(status, "\nVmHWM:") << 10
}

func kilobytes(status []byte, name string) int64 {
	_, rest, _ := bytes.Cut(status, []byte(name))
	value, _, _ := bytes.Cut(bytes.TrimLeft(rest, " \t"), []byte(" "))
	n, _ := strconv.ParseInt(string(value), 10, 64)
	return n
}

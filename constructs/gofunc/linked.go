package gofunc

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Linking takes most of the time of a build in which nothing changed. Go leaves
// it out when the binary of the last time lies where the new one is to be, and has
// its build id. So binaries are kept below the user's cache directory, and put
// there before a build. Nothing breaks without them.

// kept is where the binary of pkg is kept; "" where there is no cache directory.
func (r run) kept(pkg string) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s\x00%s", pkg, r.settings, r.root, r.goos, r.goarch))
	return filepath.Join(cache, "millrace", "linked", fmt.Sprintf("%x", key[:16]))
}

// seed puts the binaries of the last time where Go looks for them. Go trusts the
// build id at their beginning, so a sum at the end tells whether they are whole.
func (r run) seed(pkgs []string, bin string) {
	for _, pkg := range pkgs {
		data, err := os.ReadFile(r.kept(pkg))
		if err != nil || len(data) < sha256.Size {
			continue
		}
		data, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
		if want := sha256.Sum256(data); bytes.Equal(want[:], sum) {
			_ = os.WriteFile(filepath.Join(bin, binary(pkg)), data, 0o755)
		}
	}
}

// keep stores a binary for the next time, whole or not at all.
func (r run) keep(pkg string, data []byte) {
	file, sum := r.kept(pkg), sha256.Sum256(data)
	data = append(slices.Clip(data), sum[:]...)
	if before, err := os.ReadFile(file); file == "" || err == nil && bytes.Equal(before, data) {
		return
	}
	if os.MkdirAll(filepath.Dir(file), 0o755) != nil {
		return
	}
	next, err := os.CreateTemp(filepath.Dir(file), "new")
	if err != nil {
		return
	}
	defer os.Remove(next.Name()) // where it wasn't renamed
	_, err = next.Write(data)
	if next.Close() == nil && err == nil {
		_ = os.Rename(next.Name(), file)
	}
}

// anonymous is a binary without its build id, which tells of the Go that built
// it: Go for a Mac has another one than Go for Linux, and equal code has to be
// equal bytes.
func anonymous(binary []byte) []byte {
	file, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return binary // for a machine that isn't Linux: it goes nowhere
	}
	section := file.Section(".note.go.buildid")
	if section == nil {
		return binary
	}
	note, err := section.Data()
	// Name size, size of the id, type, "Go\0\0", the id.
	if err != nil || len(note) < 16 {
		return binary
	}
	size := int(file.ByteOrder.Uint32(note[4:]))
	if size == 0 || len(note) < 16+size {
		return binary
	}
	id := note[16 : 16+size]
	return bytes.ReplaceAll(binary, id, bytes.Repeat([]byte{'0'}, len(id)))
}

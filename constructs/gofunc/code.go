package gofunc

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
)

// Code is where a function's code comes from: make it with [Package],
// [Build.Package] or [Prebuilt].
type Code struct {
	pkg      string
	build    Build
	settings string // build, to compare
	prebuilt string
	given    bool // to Prebuilt, even as ""
}

// Package is the main package of a Lambda function: an import path, or a path
// that begins with "./" or "../" and is relative to the root of the module that
// the app runs in, whichever of its directories that is.
//
// A function of another module, such as those that ship with millrace, has to be
// named in go.mod as a tool (go mod edit -tool=import/path): a main package can't
// be imported, and without that go mod tidy and go mod vendor leave out what it
// needs.
//
// All packages named so far with equal settings are compiled by one `go build`
// when the first of them is used, so name them together, before the first
// construct that uses one.
func Package(pkg string) Code { return Build{}.Package(pkg) }

// Prebuilt is code that something else has compiled for Linux and the function's
// architecture: the executable itself, whatever its name, or a directory or .zip
// file with a bootstrap at its top and what else the function needs. A relative
// path begins at the root of the module that the app runs in.
func Prebuilt(path string) Code { return Code{prebuilt: path, given: true} }

// check notes every problem of c's code for a function of that architecture.
func (c Code) check(check *spec.Check, arch spec.Architecture) {
	if c.given {
		c.checkPrebuilt(check, arch)
		return
	}
	refuse := func(why, fix string) { check.Add("Code", c.pkg, why, fix) }
	switch clean := strings.TrimRight(c.pkg, "/"); {
	case c.pkg == "":
		check.Add("Code", nil, "a function needs code", `set it to gofunc.Package("./path/to/main")`)
	case spec.IsToken(c.pkg):
		check.Add("Code", "a token", "code is compiled before a token has its value", "pass the package's path itself")
	case clean == "." || clean == "":
		refuse("the root of a module is its app, not a function", "move the function's main package into a folder of its own")
	case strings.Contains(c.pkg, "..."):
		refuse("a function is one package, not a pattern", "name each function's package")
	case strings.HasPrefix(c.pkg, "-"):
		refuse("a package's path doesn't begin with a hyphen", "put settings of go build into a gofunc.Build")
	case strings.HasSuffix(c.pkg, ".go"):
		refuse("a function is a package, not a file", "name the folder that the file is in")
	case strings.Contains(c.pkg, "@"):
		refuse("the versions of modules are those of go.mod", "leave the version out here, and require it there")
	case strings.ContainsAny(c.pkg, " \t\n\\"):
		refuse("a package's path has slashes, and neither blanks nor backslashes", "write it as in an import")
	}
	c.build.check(check)
}

func (c Code) checkPrebuilt(check *spec.Check, arch spec.Architecture) {
	if c.prebuilt == "" {
		check.Add("Code", c.prebuilt, "prebuilt code is somewhere", "pass the path of the executable, directory or .zip file")
		return
	}
	if spec.IsToken(c.prebuilt) {
		check.Add("Code", "a token", "the code's place has to be known when the app is synthesized", "pass the path itself")
		return
	}
	if problem := prebuiltProblem(located(c.prebuilt), goarch(arch)); problem != nil {
		check.Add("Code", c.prebuilt, problem.Error(), "compile it before the app is synthesized (CGO_ENABLED=0 GOOS=linux GOARCH="+goarch(arch)+" go build), or use gofunc.Package")
	}
}

// located is path, below the root of the module if it is relative.
func located(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	root, err := projectRoot()
	if err != nil {
		return path // there is no module: the working directory
	}
	return filepath.Join(root, path)
}

// prebuiltProblem says why Lambda couldn't run what is at path, or nil.
func prebuiltProblem(path, goarch string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is nothing at " + path)
	case err != nil:
		return err
	case info.IsDir():
		return directoryProblem(path, goarch)
	case strings.HasSuffix(path, ".zip"):
		return zipProblem(path, goarch)
	case info.Size() > spec.FunctionCode.Max:
		return tooBig(info.Size())
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return elfProblem(file, goarch)
}

func directoryProblem(dir, goarch string) error {
	bootstrap := filepath.Join(dir, "bootstrap")
	info, err := os.Stat(bootstrap)
	if err != nil || info.IsDir() {
		return errors.New("the directory has no file bootstrap, which is what Lambda starts")
	}
	// Windows knows no such mode; the CDK marks what it zips there.
	if runtime.GOOS != "windows" && !forEveryone(info.Mode()) {
		return errClosed
	}
	var size int64
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	if size > spec.FunctionCode.Max {
		return tooBig(size)
	}
	file, err := os.Open(bootstrap)
	if err != nil {
		return err
	}
	defer file.Close()
	return bootstrapProblem(file, goarch)
}

func zipProblem(path, goarch string) error {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return fmt.Errorf("it can't be read as a zip: %w", err)
	}
	defer archive.Close()
	var size uint64
	var bootstrap *zip.File
	for _, f := range archive.File {
		if size += f.UncompressedSize64; size > uint64(spec.FunctionCode.Max) {
			return tooBig(int64(min(size, 1<<62)))
		}
		if f.Name == "bootstrap" {
			bootstrap = f
		}
	}
	if bootstrap == nil {
		return errors.New("the zip has no bootstrap at its top, which is what Lambda starts")
	}
	const unix = 3
	if bootstrap.CreatorVersion>>8 == unix && !forEveryone(bootstrap.Mode()) {
		return errClosed
	}
	content, err := bootstrap.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	data, err := io.ReadAll(io.LimitReader(content, spec.FunctionCode.Max+1))
	if err != nil {
		return fmt.Errorf("its bootstrap can't be read: %w", err)
	}
	return bootstrapProblem(bytes.NewReader(data), goarch)
}

// errClosed is a bootstrap that Lambda, which has a user of its own, can't start.
var errClosed = errors.New("its bootstrap isn't readable and executable by everyone (chmod 755)")

func forEveryone(mode fs.FileMode) bool { return mode&0o005 == 0o005 }

// bootstrapProblem lets scripts pass: they may start anything.
func bootstrapProblem(file io.ReaderAt, goarch string) error {
	var first [2]byte
	if n, _ := file.ReadAt(first[:], 0); n == 2 && string(first[:]) == "#!" {
		return nil
	}
	return elfProblem(file, goarch)
}

func elfProblem(file io.ReaderAt, goarch string) error {
	f, err := elf.NewFile(file)
	if err != nil {
		return fmt.Errorf("it is no Linux executable (ELF): %w", err)
	}
	defer f.Close()
	machine := map[string]elf.Machine{"arm64": elf.EM_AARCH64, "amd64": elf.EM_X86_64}[goarch]
	switch {
	case f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN:
		return fmt.Errorf("it is no executable but %v", f.Type)
	case f.OSABI != elf.ELFOSABI_NONE && f.OSABI != elf.ELFOSABI_LINUX:
		return fmt.Errorf("it is compiled for another system than Linux (%v)", f.OSABI)
	case f.Class != elf.ELFCLASS64 || f.Machine != machine:
		return fmt.Errorf("it is compiled for %v, and the function is %s", f.Machine, goarch)
	}
	return nil
}

func tooBig(size int64) error {
	return fmt.Errorf("it has %d bytes, and %s", size, spec.FunctionCode)
}

// asset is the code as the CDK takes it. Packages of an app that isn't bundled
// have a stand-in: in stacks that aren't selected, and in tests that set
// aws:cdk:bundling-stacks.
func asset(scope constructs.Construct, code Code, arch spec.Architecture) awslambda.Code {
	out, err := filepath.Abs(*awscdk.Stage_Of(scope).AssetOutdir())
	if err != nil {
		panic(err)
	}
	var dir string
	var options *awss3assets.AssetOptions
	switch {
	case code.given:
		dir, err = prebuilt(located(code.prebuilt), out)
	case !*awscdk.Stack_Of(scope).BundlingRequired():
		dir, err = stub(out)
	default:
		goos := "linux"
		if forThisMachine(scope) {
			goos = runtime.GOOS
		}
		var made output
		made, err = compile(code, out, goos, arch)
		// The CDK would read and hash it again.
		dir, options = made.dir, &awss3assets.AssetOptions{AssetHash: jsii.String(made.hash)}
	}
	if err != nil {
		panic(err)
	}
	return awslambda.Code_FromAsset(jsii.String(dir), options)
}

// prebuilt is path itself, or a directory with it as bootstrap if it is an
// executable, below out.
func prebuilt(path, out string) (string, error) {
	if info, err := os.Stat(path); err != nil || info.IsDir() || strings.HasSuffix(path, ".zip") {
		return path, err
	}
	parent := filepath.Join(out, "functions")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, "prebuilt")
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return dir, write(filepath.Join(dir, "bootstrap"), data)
}

// stub is a directory with a bootstrap that says what it is, below out: the
// app's own directory, which no other user or process has a hand in.
func stub(out string) (string, error) {
	dir := filepath.Join(out, "functions", "stand-in")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	const text = "#!/bin/sh\necho 'this stack was synthesized without its code' >&2\nexit 1\n"
	return dir, write(filepath.Join(dir, "bootstrap"), []byte(text))
}

// write makes an executable that Lambda's own user may start, whatever the umask.
func write(file string, data []byte) error {
	return errors.Join(os.WriteFile(file, data, 0o755), os.Chmod(file, 0o755))
}

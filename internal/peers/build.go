package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// module is the import path of what is built here.
const module = "github.com/madang-chat/madang"

// build compiles a command of this module into bin and returns its path.
func build(ctx context.Context, bin, pkg, ldflags string) (string, error) {
	program := filepath.Join(bin, filepath.Base(pkg))
	cmd := command(ctx, "go", "build", "-trimpath", "-ldflags", ldflags, "-o", program, module+"/"+pkg)
	return program, compile(cmd, "CGO_ENABLED=0")
}

// install compiles a command of another module, of the given version, into bin and returns its path.
func install(ctx context.Context, bin, pkg, program string) (string, error) {
	cmd := command(ctx, "go", "install", pkg)
	return filepath.Join(bin, program), compile(cmd, "CGO_ENABLED=0", "GOBIN="+bin)
}

// compile runs the go command. The first line of an error is for a document, what follows is the go command's.
func compile(cmd *exec.Cmd, env ...string) error {
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:2], " "), err, out)
	}
	return nil
}

// lookUp finds a program of the machine.
func lookUp(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	path := filepath.Join("/usr/sbin", program) // where Debian has servers; not on everybody's PATH
	if _, err := os.Stat(path); err != nil {
		return "", errors.New("not on the PATH")
	}
	return path, nil
}

// versionOf returns the first version number that a program prints. Some exit with an error after it.
func versionOf(ctx context.Context, program, arg string) (string, error) {
	text, err := command(ctx, program, arg).CombinedOutput()
	version := regexp.MustCompile(`\d+\.\d+[-.\w]*`).FindString(string(text))
	if version == "" {
		return "", fmt.Errorf("it tells no version when called with %s: %w", arg, errors.Join(err, errors.New(lastLine(text))))
	}
	return version, nil
}

// describe returns what git calls the tree, "devel" where it knows nothing.
func describe(ctx context.Context) string {
	out, err := command(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "devel"
	}
	return strings.TrimSpace(string(out))
}

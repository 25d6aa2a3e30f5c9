package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The file boot is one line: "madang-boot 1 <boot number> <node id>\n".
const (
	bootFile  = "boot"
	bootMagic = "madang-boot 1"
)

// nextBoot returns the number of this start of the node, larger than every one before it, and makes it durable first:
// (node, boot, n) must never name two commands. wallNanos, the wall clock, keeps the number rising when the directory
// was wiped in between.
func nextBoot(d Disk, dir, node string, wallNanos int64) (uint64, error) {
	name := filepath.Join(dir, bootFile)
	last, owner, err := readBoot(d, name)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return 0, fmt.Errorf("read boot number: %w", err)
	case owner != node:
		return 0, fmt.Errorf("%w: %s is node %q, started as %q", ErrOtherNode, dir, owner, node)
	}
	boot := max(last+1, uint64(max(wallNanos, 0)))
	line := fmt.Sprintf("%s %d %s\n", bootMagic, boot, node)
	if err := writeFile(d, name, []byte(line)); err != nil {
		return 0, fmt.Errorf("write boot number: %w", err)
	}
	return boot, nil
}

func readBoot(d Disk, name string) (boot uint64, node string, err error) {
	data, err := readFile(d, name, 4096)
	if err != nil {
		return 0, "", err
	}
	rest, ok := strings.CutPrefix(string(data), bootMagic+" ")
	if !ok {
		return 0, "", fmt.Errorf("%w: %s", ErrDamaged, name)
	}
	number, node, ok := strings.Cut(strings.TrimSuffix(rest, "\n"), " ")
	if !ok {
		return 0, "", fmt.Errorf("%w: %s", ErrDamaged, name)
	}
	boot, err = strconv.ParseUint(number, 10, 64)
	if err != nil || boot == 0 {
		return 0, "", fmt.Errorf("%w: %s", ErrDamaged, name)
	}
	return boot, node, nil
}

package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// set reads text into the key's field of c. It never panics and leaves the field alone when it returns an error; the
// error says what is wanted, not which key it is.
func (k *Key) set(c *Config, text string) error {
	text = strings.TrimSpace(text)
	if len(k.OneOf) > 0 && !slices.Contains(k.OneOf, text) {
		msg := fmt.Sprintf("%q is not one of %s", text, strings.Join(k.OneOf, ", "))
		if near := nearest(text, k.OneOf); near != "" {
			msg += fmt.Sprintf(" (did you mean %s?)", near)
		}
		return errors.New(msg)
	}
	switch p := k.field(c).(type) {
	case *string:
		*p = text
	case *[]string:
		list, err := parseList(text)
		if err != nil {
			return err
		}
		*p = list
	case *bool:
		switch text {
		case "true":
			*p = true
		case "false":
			*p = false
		default:
			return fmt.Errorf("%q is not true or false", text)
		}
	case *int:
		n, err := parseCount(text)
		if err != nil {
			return err
		}
		if n < k.Min {
			return fmt.Errorf("%s is less than %d", text, k.Min)
		}
		*p = int(n)
	case *int64:
		n, err := parseSize(text)
		if err != nil {
			return err
		}
		*p = n
	case *time.Duration:
		d, err := ParseDuration(text)
		if err != nil {
			return err
		}
		if k.Min > 0 && d == 0 {
			return errors.New("must be longer than 0")
		}
		*p = d
	default:
		return fmt.Errorf("key %s has a field of unknown type %T", k.Name, p)
	}
	return nil
}

// Kind names what a value of the key looks like: "text", "list", "true or false", "number", "size" or "duration".
func (k *Key) Kind() string {
	switch k.field(new(Config)).(type) {
	case *[]string:
		return "list"
	case *bool:
		return "true or false"
	case *int:
		return "number"
	case *int64:
		return "size"
	case *time.Duration:
		return "duration"
	}
	return "text"
}

// Value returns the value of the key in c as it could be written in the file.
func (k *Key) Value(c *Config) string {
	switch p := k.field(c).(type) {
	case *string:
		return *p
	case *[]string:
		return strings.Join(*p, ",")
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		return strconv.Itoa(*p)
	case *int64:
		return formatSize(*p)
	case *time.Duration:
		return formatDuration(*p)
	}
	return ""
}

func parseList(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, ",")
	for i, p := range parts {
		if parts[i] = strings.TrimSpace(p); parts[i] == "" {
			return nil, fmt.Errorf("%q has an empty element", text)
		}
	}
	return parts, nil
}

func parseCount(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is more than %d", text, math.MaxInt32)
	case err != nil:
		return 0, fmt.Errorf("%q is not a whole number", text)
	case n < 0:
		return 0, fmt.Errorf("%s is less than 0", text)
	}
	return n, nil
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"KB", 1e3},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// parseSize reads a whole number of bytes, with or without a unit.
func parseSize(text string) (int64, error) {
	number, unit := text, int64(1)
	for _, u := range sizeUnits {
		if s, ok := strings.CutSuffix(text, u.suffix); ok {
			number, unit = strings.TrimSpace(s), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if errors.Is(err, strconv.ErrRange) || err == nil && int64(n) > math.MaxInt64/unit {
		return 0, fmt.Errorf("%s is too large", text)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a size, such as 256KiB or 16MiB", text)
	}
	return int64(n) * unit, nil
}

func formatSize(n int64) string {
	for i := 3; i >= 0; i-- {
		if u := sizeUnits[i]; n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

const day = 24 * time.Hour

// ParseDuration reads what time.ParseDuration reads, with days in front: 30d, 1d12h, 90s. Only 0 needs no unit.
func ParseDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration, such as 30s, 72h or 30d", text)
	var days int64
	rest := text
	if number, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil {
			return 0, bad
		}
		if n > uint64(math.MaxInt64/day) {
			return 0, fmt.Errorf("%s is too long", text)
		}
		days, rest = int64(n), after
		if rest == "" {
			return time.Duration(days) * day, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		if _, numeric := strconv.ParseUint(text, 10, 64); numeric == nil {
			return 0, fmt.Errorf("%s needs a unit, such as %ss", text, text)
		}
		return 0, bad
	}
	if d < 0 || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
		return 0, bad
	}
	if d > math.MaxInt64-time.Duration(days)*day {
		return 0, fmt.Errorf("%s is too long", text)
	}
	return time.Duration(days)*day + d, nil
}

// formatDuration writes whole days from a week on as days, and leaves out the zeroes time.Duration writes.
func formatDuration(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d >= 7*day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

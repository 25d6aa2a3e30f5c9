package bench

import "fmt"

// maxSize is the largest message: a packet has at most 256 MB, topic and properties included.
const maxSize = 255 << 20

// maxRate is the highest rate, a second, that is taken for meant.
const maxRate = 10_000_000

// OptionError says which option of a scenario cannot be, and what can. Nothing was measured.
type OptionError struct{ text string }

// Error names the flag of the command that sets the option.
func (e *OptionError) Error() string { return e.text }

func optionf(format string, args ...any) error { return &OptionError{fmt.Sprintf(format, args...)} }

// checkAll returns the first error.
func checkAll(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkCount(what, flag string, n, least, most int) error {
	if n < least || n > most {
		return optionf("%d %s (%s): it is %d to %d", n, what, flag, least, most)
	}
	return nil
}

func checkQoS(qos byte) error { return checkCount("is no QoS", "-q", int(qos), 0, 2) }

// checkRate takes 0 for none. NaN is no rate either.
func checkRate(flag string, perSecond float64) error {
	if !(perSecond >= 0 && perSecond <= maxRate) {
		return optionf("%s %v: it is 0 to %d a second", flag, perSecond, maxRate)
	}
	return nil
}

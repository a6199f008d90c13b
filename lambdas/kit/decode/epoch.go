package decode

import (
	"bytes"
	"strconv"
	"time"
)

// maxEpoch is the last second of the year 9999, after which RFC 3339 can't write
// a time.
const maxEpoch = 253_402_300_799

// epoch reads a time in seconds since 1970, to the nanosecond; null leaves it as
// it is. A float64 on the way would be off by up to 120 ns at today's times.
func (s *scanner) epoch(into *time.Time) *Error {
	const not = "must be a number of seconds since 1970, up to the year 9999"
	if c := s.peek(); c != '-' && !isDigit(c) {
		return s.absent(not)
	}
	number, err := s.number()
	if err != nil {
		return err
	}
	seconds, nanoseconds, ok := split(number)
	if !ok {
		return s.fail(not)
	}
	*into = time.Unix(seconds, nanoseconds).UTC()
	return nil
}

// split takes a JSON number of seconds apart; what is finer than a nanosecond is
// cut off. It is false if that leaves a number below 0 or above maxEpoch.
func split(number []byte) (seconds, nanoseconds int64, ok bool) {
	number, negative := bytes.CutPrefix(number, []byte("-"))
	number, exponent := cutExponent(number)
	// A digit counts tens to the power of place-1.
	place := len(number)
	if point := bytes.IndexByte(number, '.'); point >= 0 {
		place = point
	}
	place += exponent
	for _, c := range number {
		if c == '.' {
			continue
		}
		digit := int64(c - '0')
		switch {
		case place > 0:
			seconds = seconds*10 + digit
		case place > -9:
			nanoseconds += digit * nanos[-place]
		}
		if seconds > maxEpoch {
			return 0, 0, false
		}
		place--
	}
	for ; place > 0 && seconds > 0; place-- {
		if seconds *= 10; seconds > maxEpoch {
			return 0, 0, false
		}
	}
	return seconds, nanoseconds, !negative || seconds == 0 && nanoseconds == 0
}

// nanos are the places after the point.
var nanos = [...]int64{1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1}

func cutExponent(number []byte) ([]byte, int) {
	i := bytes.IndexByte(number, 'E')
	if i < 0 {
		i = bytes.IndexByte(number, 'e')
	}
	if i < 0 {
		return number, 0
	}
	// One that doesn't fit is as good as the largest that does.
	exponent, _ := strconv.ParseInt(string(number[i+1:]), 10, 32)
	return number[:i], int(exponent)
}

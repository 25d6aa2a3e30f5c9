package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The example of the Standard Webhooks text.
const (
	exampleSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	exampleSum    = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func TestSignAsStandardWebhooks(t *testing.T) {
	other := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	for text, want := range map[string]string{
		exampleSecret: exampleSum,
		"# new\n" + exampleSecret + "\n\n" + other + "\n": exampleSum + " ",
	} {
		s, err := ParseSecrets(text)
		if err != nil {
			t.Fatal(err)
		}
		got := s.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, []byte(`{"test": 2432232314}`))
		if !strings.HasPrefix(got, want) || strings.Count(got, "v1,") != len(s.keys) {
			t.Errorf("signed as %s, want %s", got, want)
		}
		if out := fmt.Sprintf("%v %+v", s, &struct{ S Signer }{s}); strings.Contains(out, string(s.keys[0])) {
			t.Errorf("printed as %s", out)
		}
	}
}

func TestSecretsThatAreNone(t *testing.T) {
	for _, text := range []string{
		"", "# nothing\n", "whsec_", "whsec_!!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=",
		"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)), strings.Repeat(exampleSecret+"\n", maxSecrets+1),
	} {
		if _, err := ParseSecrets(text); !errors.Is(err, ErrSecret) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseSecrets(f *testing.F) {
	f.Add(exampleSecret)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSecrets(text)
		if err == nil && (len(s.keys) == 0 || s.Sign("i", 1, nil) == "") {
			t.Fatal("secrets that sign nothing")
		}
	})
}

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/app"
	"github.com/madang-chat/madang/internal/config"
)

// checkContents returns an error for every file c names whose content cannot be used, each with the place to change:
// a node is refused before it opens anything, and a reload before it takes anything over. That the files can be read
// has been checked (config.CheckFiles).
func checkContents(c *config.Config) error {
	var errs []error
	check := func(key string, err error) {
		if err != nil {
			text := strings.TrimPrefix(err.Error(), key+": ")
			errs = append(errs, &config.Error{Source: c.Source(key), Key: key, Msg: text})
		}
	}
	for _, part := range []struct {
		name string
		l    *config.Listener
	}{
		{"mqtt", &c.Listeners.MQTT}, {"mqtts", &c.Listeners.MQTTS}, {"web", &c.Listeners.Web.Listener}, {"ops", &c.Listeners.Ops.Listener},
	} {
		if part.l.TLS() && slices.Contains(c.Opened(), part.name) {
			check("listeners."+part.name+".cert_file", checkCertificate(part.l.CertFile, part.l.KeyFile))
		}
	}
	check("listeners.ops.token_file", checkToken(c.Listeners.Ops.TokenFile))
	check("listeners.ops.client_ca_file", checkAuthorities(c.Listeners.Ops.ClientCAFile))
	jwt := &c.Auth.JWT
	check("auth.users_file", checkAuth(auth.Config{UsersFile: c.Auth.UsersFile}))
	check("auth.jwt.hmac_secret_file", checkAuth(auth.Config{JWT: auth.JWTConfig{HMACSecretFile: jwt.HMACSecretFile}}))
	check("auth.jwt.public_key_file", checkAuth(auth.Config{JWT: auth.JWTConfig{PublicKeyFile: jwt.PublicKeyFile}}))
	return errors.Join(errs...)
}

func checkCertificate(cert, key string) error {
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return fmt.Errorf("%s with the key %s cannot be used: %s; "+
			"both must be in PEM form, and the key the certificate's own", cert, key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return nil
}

// checkToken refuses an empty file: it would be a listener that asks nobody.
func checkToken(path string) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		err = fmt.Errorf("%s is empty: make it with `openssl rand -hex 32`", path)
	}
	return err
}

func checkAuthorities(path string) error {
	if path == "" {
		return nil
	}
	_, err := app.Authorities(path)
	return err
}

// checkAuth reads the files of c as a node does.
func checkAuth(c auth.Config) error {
	chain, err := auth.New(context.Background(), c, func() []byte { return nil })
	if err == nil {
		chain.Close()
	}
	return err
}

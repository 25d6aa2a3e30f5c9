package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/config"
)

func newTokenCommand() *cobra.Command {
	group := newGroup("token", "Make tokens for users")
	var f configFlags
	var secretFile, user, name, ttl string
	var roles []string
	var level int64
	create := &cobra.Command{
		Use:   "create --user U --ttl D",
		Short: "Print a token signed with auth.jwt.hmac_secret_file",
		Long: "Print a token that logs its bearer in as the user: as password over MQTT, as bearer token over HTTP.\n" +
			"It is signed with the secret of auth.jwt.hmac_secret_file, which every node that shall accept it must have.",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			lifetime, err := config.ParseDuration(ttl)
			switch {
			case user == "":
				return usagef("--user is missing")
			case ttl == "":
				return usagef("--ttl is missing, such as 12h or 30d")
			case err != nil:
				return usagef("--ttl: %w", err)
			case lifetime < time.Second:
				return usagef("--ttl: a token must live for a second at least")
			}
			c, err := f.load()
			if err != nil {
				return err
			}
			path := secretFile
			if path == "" {
				path = c.Auth.JWT.HMACSecretFile
			}
			if path == "" {
				return usagef("no secret to sign with: give --config with auth.jwt.hmac_secret_file, or --secret-file")
			}
			secret, err := auth.ReadSecretFile(path)
			if err != nil {
				return fmt.Errorf("read secret: %w", err)
			}
			claims := auth.TokenClaims{
				Name: name, Roles: roles, Issuer: c.Auth.JWT.Issuer, Audience: c.Auth.JWT.Audience,
			}
			if cmd.Flags().Changed("level") {
				claims.Level = &level
			}
			token, err := auth.IssueToken(secret, user, claims, lifetime)
			if err != nil {
				return &usageError{err}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	f.register(create)
	create.Flags().StringVar(&secretFile, "secret-file", "", "`file` with the secret, instead of the configuration's")
	create.Flags().StringVar(&user, "user", "", "`user` the token is for, alice or ns/alice")
	create.Flags().StringVar(&ttl, "ttl", "", "how long it is good, such as 12h or 30d (`duration`)")
	create.Flags().StringVar(&name, "name", "", "display `name`")
	create.Flags().Int64Var(&level, "level", 0, "level shown beside the name")
	create.Flags().StringSliceVar(&roles, "role", nil, "`role` in the namespace: admin, auditor")
	group.AddCommand(create)
	return group
}

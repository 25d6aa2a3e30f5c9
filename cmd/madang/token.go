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
	var register bool
	create := &cobra.Command{
		Use:   "create --user U --ttl D",
		Short: "Print a token signed with auth.jwt.hmac_secret_file",
		Long: "Print a token that logs its bearer in as the user: as password over MQTT, as bearer token over HTTP.\n" +
			"It is signed with the secret of auth.jwt.hmac_secret_file, which every node that shall accept it must have.",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			lifetime, err := config.ParseDuration(ttl)
			switch {
			case user == "" && register:
				user = "*"
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
				Register: register, Name: name, Roles: roles, Issuer: c.Auth.JWT.Issuer, Audience: c.Auth.JWT.Audience,
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
	create.Flags().BoolVar(&register, "register", false, "the token lets its bearer register (auth.register: token), and not log in; without --user under any name")
	create.Flags().StringSliceVar(&roles, "role", nil, "`role` in the namespace: admin, auditor")
	group.AddCommand(create, newServiceKeyCommand())
	return group
}

func newServiceKeyCommand() *cobra.Command {
	var namespace, scope string
	cmd := &cobra.Command{
		Use:   "service NAME --scope S",
		Short: "Make a key for a service",
		Long: "Print a key on stdout, and on stderr the line of auth.service_keys_file that lets it in. The key is shown once: the\n" +
			"file holds its hash. It acts as svc~NAME: as bearer token over HTTP, as password of the user \"-\" over MQTT.\n\n" +
			"Scopes: admin send_as users rooms moderate broadcast read.",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if scope == "" {
				return usagef("--scope is missing, such as send_as,users")
			}
			scopes, err := auth.ParseScopes(scope)
			if err != nil {
				return &usageError{err}
			}
			key, line, err := auth.NewServiceKey(args[0], namespace, scopes)
			if err != nil {
				return &usageError{err}
			}
			if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "add this line to auth.service_keys_file, and send the nodes a SIGHUP:\n%s\n", line); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), key)
			return err
		},
	}
	cmd.Flags().StringVar(&scope, "scope", "", "what it may do, with commas between (`scopes`)")
	cmd.Flags().StringVar(&namespace, "namespace", "chat", "`namespace` it is for")
	return cmd
}

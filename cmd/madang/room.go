package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func newRoomCommand() *cobra.Command {
	group := newGroup("room", "Make, change, remove and list rooms of a running broker")
	var c apiClient
	add := func(cmd *cobra.Command) {
		c.register(cmd)
		group.AddCommand(cmd)
	}
	add(newRoomCreate(&c))
	add(&cobra.Command{
		Use:   "set ROOM KEY=VALUE...",
		Short: "Change properties of a room, such as name=Lobby kind=private guest=none",
		Long: "Change properties of a room, such as name=Lobby kind=private guest=none.\n" +
			"A value that is a number, true, false, null or anything else in JSON is sent as that, other text as text.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("want a room and at least one key=value")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := properties(args[1:])
			if err != nil {
				return err
			}
			return c.call(cmd, http.MethodPatch, roomPath(args[0]), body, nil)
		},
	})
	add(&cobra.Command{
		Use: "del ROOM", Short: "Remove a room", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd, http.MethodDelete, roomPath(args[0]), nil, nil)
		},
	})
	add(newRoomExport(&c))
	add(newRoomImport(&c))
	add(newTable(&c, "list", "List the rooms the user has joined", "/rooms", printRooms))
	return group
}

func newRoomCreate(c *apiClient) *cobra.Command {
	var kind, name string
	cmd := &cobra.Command{
		Use: "create ROOM", Short: "Make a room", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kind != "public" && kind != "private" {
				return usagef("--kind %q: it is public or private", kind)
			}
			body := map[string]any{"room": args[0], "kind": kind}
			if name != "" {
				body["name"] = name
			}
			return c.call(cmd, http.MethodPost, "/rooms", body, nil)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "public", "public or private (`kind`)")
	cmd.Flags().StringVar(&name, "name", "", "display `name`")
	return cmd
}

// printRooms prints a line for each room.
func printRooms(w io.Writer, answer []byte) error {
	rooms, err := parseRooms(answer)
	if err != nil {
		return err
	}
	for _, r := range rooms {
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\n", r.Room, r.Kind, r.Name); err != nil {
			return err
		}
	}
	return nil
}

// listedRoom is what the list shows of a room.
type listedRoom struct {
	Room string `json:"room"`
	Kind string `json:"kind"`
	Name string `json:"name"`
}

func parseRooms(answer []byte) ([]listedRoom, error) {
	var page struct {
		Rooms []listedRoom `json:"rooms"`
	}
	if err := json.Unmarshal(answer, &page); err != nil {
		return nil, fmt.Errorf("the answer is no list of rooms: %w", err)
	}
	return page.Rooms, nil
}

func roomPath(room string) string { return "/rooms/" + url.PathEscape(room) }

// properties reads key=value arguments; a value that is JSON is taken as that.
func properties(args []string) (map[string]any, error) {
	body := make(map[string]any, len(args))
	for _, a := range args {
		key, text, ok := strings.Cut(a, "=")
		if !ok || key == "" {
			return nil, usagef("%q is not key=value", a)
		}
		if json.Valid([]byte(text)) {
			body[key] = json.RawMessage(text)
		} else {
			body[key] = text
		}
	}
	return body, nil
}

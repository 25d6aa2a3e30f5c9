package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Options are the places a configuration is read from.
type Options struct {
	File  string   // path of the YAML file, "" = none
	Env   []string // the environment, as os.Environ returns it
	Dev   bool     // --dev
	Flags []Option // flags of their own, such as --data-dir
	Set   []string // "key=value" of each --set, in order
}

// Option is a flag that stands for one key.
type Option struct{ Flag, Key, Value string }

// Load reads and merges the configuration, and reports every malformed, unknown or repeated value at once. The result
// has every key set; whether a node may run with it is asked of Validate.
func Load(o Options) (*Config, error) {
	c := &Config{Dev: o.Dev, sources: make(map[string]Source)}
	for _, k := range table {
		if err := k.set(c, k.Default); err != nil {
			return nil, fmt.Errorf("built-in default of %s: %w", k.Name, err)
		}
	}
	if o.Dev {
		for _, k := range table {
			if k.Dev == nil {
				continue
			}
			if err := k.set(c, *k.Dev); err != nil {
				return nil, fmt.Errorf("--dev default of %s: %w", k.Name, err)
			}
			c.sources[k.Name] = Source{Layer: DevDefault}
		}
	}
	var all []assignment
	var errs []error
	if o.File != "" {
		data, err := os.ReadFile(o.File)
		if err != nil {
			return nil, &Error{Source: Source{Layer: File, Name: o.File}, Msg: reason(err)}
		}
		r := readYAML(o.File, data)
		all, errs, c.Webhooks, c.hookLines = r.found, r.errs, r.hooks, r.hookLines
		c.sources[webhooksKey] = Source{Layer: File, Name: o.File}
	}
	env, envErrs := readEnv(o.Env)
	flags, flagErrs := readFlags(o)
	for _, a := range slices.Concat(all, env, flags) {
		if err := a.key.set(c, a.text); err != nil {
			errs = append(errs, &Error{Source: a.src, Key: a.key.Name, Msg: err.Error()})
			continue
		}
		c.sources[a.key.Name] = a.src
	}
	slices.SortStableFunc(errs, byLine)
	if err := errors.Join(slices.Concat(errs, envErrs, flagErrs)...); err != nil {
		return nil, err
	}
	if err := c.fill(); err != nil {
		return nil, err
	}
	return c, nil
}

// Source returns the place that set the key's value.
func (c *Config) Source(key string) Source { return c.sources[key] }

// Changed returns the keys whose values differ between two configurations: those that a reload puts into effect, and
// those that wait for a restart. A key that stands for a file is not listed when only the file's content changed.
func Changed(old, now *Config) (reload, restart []*Key) {
	for _, k := range table {
		switch {
		case k.Value(old) == k.Value(now):
		case k.Reload:
			reload = append(reload, k)
		default:
			restart = append(restart, k)
		}
	}
	return reload, restart
}

// fill puts in what the defaults leave to the machine, and closes the listeners that are "off".
func (c *Config) fill() error {
	for _, bind := range []*string{
		&c.Listeners.MQTT.Bind, &c.Listeners.MQTTS.Bind, &c.Listeners.Web.Bind, &c.Listeners.Ops.Bind,
	} {
		if *bind == "off" {
			*bind = ""
		}
	}
	if c.Node.Name != "" {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return &Error{Key: "node.name", Msg: fmt.Sprintf("not set, and the host has no name: %s", reason(err))}
	}
	c.Node.Name = host
	return nil
}

// readEnv takes the variables with "__" in their name. Others that begin with MADANG_ are not keys: orchestrators
// make such names for a service called madang. An empty variable counts as not set.
func readEnv(environ []string) (all []assignment, errs []error) {
	for _, kv := range environ {
		name, text, ok := strings.Cut(kv, "=")
		if !ok || text == "" || !strings.HasPrefix(name, envPrefix) || !strings.Contains(name, "__") {
			continue
		}
		src := Source{Layer: Env, Name: name}
		path := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, envPrefix), "__", "."))
		k := byName[path]
		if k == nil || k.Env() != name {
			msg := "unknown key"
			if near := nearestKey(path); near != "" {
				msg += fmt.Sprintf(" (did you mean %s?)", byName[near].Env())
			}
			errs = append(errs, &Error{Source: src, Msg: msg})
			continue
		}
		all = append(all, assignment{k, text, src})
	}
	slices.SortFunc(all, func(a, b assignment) int { return cmp.Compare(a.src.Name, b.src.Name) })
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return all, errs
}

func readFlags(o Options) (all []assignment, errs []error) {
	for _, f := range o.Flags {
		k := byName[f.Key]
		if k == nil {
			errs = append(errs, &Error{Source: Source{Layer: Flag, Name: f.Flag}, Key: f.Key, Msg: "unknown key"})
			continue
		}
		all = append(all, assignment{k, f.Value, Source{Layer: Flag, Name: f.Flag}})
	}
	for _, s := range o.Set {
		name, text, ok := strings.Cut(s, "=")
		name = strings.TrimSpace(name)
		src := Source{Layer: Flag, Name: "--set " + name}
		k := byName[name]
		switch {
		case !ok:
			errs = append(errs, &Error{Source: src, Msg: "want key=value"})
		case k == nil:
			msg := "unknown key"
			if near := nearestKey(name); near != "" {
				msg += fmt.Sprintf(" (did you mean %s?)", near)
			}
			errs = append(errs, &Error{Source: src, Msg: msg})
		default:
			all = append(all, assignment{k, text, src})
		}
	}
	return all, errs
}

func byLine(a, b error) int {
	ea, okA := errors.AsType[*Error](a)
	eb, okB := errors.AsType[*Error](b)
	if !okA || !okB {
		return 0
	}
	return cmp.Or(cmp.Compare(ea.Source.Layer, eb.Source.Layer), cmp.Compare(ea.Source.Line, eb.Source.Line))
}

// reason returns the last part of an error about a file: "no such file or directory" without operation and path.
func reason(err error) string {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err.Error()
	}
	return err.Error()
}

package main

import "bytes"

// report returns all tables.
func report() ([]byte, error) {
	tables := []*table{costTable(), nodeTable()}
	for _, simulated := range []func() (*table, error){streamTable, changeTable} {
		t, err := simulated()
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	tables = append(tables, stormTable(), placementTable(), groupTable(), diskTable(), demandTable(), historyTable(), besideTable())
	var out bytes.Buffer
	for i, t := range tables {
		t.write(&out, i+1)
	}
	return append(bytes.TrimRight(out.Bytes(), "\n"), '\n'), nil
}

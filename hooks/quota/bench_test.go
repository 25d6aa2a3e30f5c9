package quota_test

import (
	"testing"

	"github.com/madang-chat/madang/hooks/quota"
)

func BenchmarkTake(b *testing.B) {
	q := quota.New(quota.Limits{Messages: 1_000_000_000, Bytes: 1 << 40, Largest: 1 << 20}).Of(quota.Name{NS: "chat", Name: "alice"})
	b.ReportAllocs()
	for b.Loop() {
		q.Take(100)
	}
}

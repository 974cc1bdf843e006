package threatqtest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"fn-threatq/host/threatq/threatqtest"
)

func BenchmarkGetOverHTTPS(b *testing.B) {
	c := start(b, threatqtest.Options{KeepRequests: -1})
	id := c.s.AddEvent("Incident", "T")
	transport := &http.Transport{TLSClientConfig: c.s.Authority().ClientConfig(), MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, _ := http.NewRequest("GET", fmt.Sprintf("%s/api/events/%d", c.s.URL(), id), nil)
			r.Header.Set("Authorization", "Bearer "+c.token)
			resp, err := client.Do(r)
			if err != nil || resp.StatusCode != 200 {
				b.Error(resp, err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}

func BenchmarkGet(b *testing.B) {
	c := start(b, threatqtest.Options{KeepRequests: -1})
	for i := range 1000 {
		c.s.AddEvent("Incident", fmt.Sprintf("Resilient #%d: x", i))
		c.s.AddIndicator("FQDN", fmt.Sprintf("h%d.example.com", i), "Active", "Feed")
	}
	for name, target := range map[string]string{
		"ByID": "/api/events/100?with=attributes,sources,type", "ByValue": "/api/indicators?value=h7.example.com&with=type,status,sources&limit=100",
		"ByPrefix": "/api/events?title=Resilient+%23700%3A+%25&with=attributes,sources,type&limit=100&offset=0&sort=id",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRequest("GET", target, nil)
				r.Header.Set("Authorization", "Bearer "+c.token)
				w := httptest.NewRecorder()
				c.s.ServeHTTP(w, r)
				if w.Code != 200 {
					b.Fatal(w.Body)
				}
			}
		})
	}
}

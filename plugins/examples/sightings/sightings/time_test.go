package sightings

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTimestampIsThatOfPackageTime(t *testing.T) {
	for _, ms := range []int64{0, -1, 999, 951_782_400_000, 951_868_799_999, 1_580_479_200_000, 4_107_542_400_000, -62_135_596_800_000} {
		assert.Equal(t, time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05"), timestamp(ms))
	}
}

//go:build !linux

package urlcache

import "os"

func syncData(f *os.File) error { return f.Sync() }

func forget(*os.File, int64, int64) error { return nil }

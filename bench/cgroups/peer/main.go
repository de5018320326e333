// The calls of Go's libcontainer in-process, as runc makes them: loads one container from runc's records and times on
// demand what a Go host would call in place of this library.
//
//	peer RUNC_ROOT CONTAINER_ID
//
// Reads lines "KIND COUNT" and answers each with one line: the nanoseconds of each of COUNT calls.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
)

func fail(err error) {
	fmt.Fprintln(os.Stderr, "peer:", err)
	os.Exit(1)
}

// Two values that take turns, so that no call finds what it is about to write.
func set(container libcontainer.Container, serial *int64) error {
	*serial++
	config := container.Config()
	resources := *config.Cgroups.Resources
	resources.PidsLimit = 1000 + *serial%2
	cgroup := *config.Cgroups
	cgroup.Resources = &resources
	config.Cgroups = &cgroup
	return container.Set(config)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: peer RUNC_ROOT CONTAINER_ID")
		os.Exit(2)
	}
	factory, err := libcontainer.New(os.Args[1])
	if err != nil {
		fail(err)
	}
	container, err := factory.Load(os.Args[2])
	if err != nil {
		fail(err)
	}
	var serial int64
	calls := map[string]func() error{
		"status": func() error { _, err := container.Status(); return err },
		"pids":   func() error { _, err := container.Processes(); return err },
		"stats":  func() error { _, err := container.Stats(); return err },
		"update": func() error { return set(container, &serial) },
		"freeze": func() error {
			if err := container.Pause(); err != nil {
				return err
			}
			return container.Resume()
		},
	}
	out := bufio.NewWriter(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var kind string
		var count int
		if _, err := fmt.Sscan(lines.Text(), &kind, &count); err != nil || calls[kind] == nil || count < 1 {
			fail(fmt.Errorf("no command: %s", lines.Text()))
		}
		took := make([]string, count)
		for i := range took {
			before := time.Now()
			if err := calls[kind](); err != nil {
				fail(fmt.Errorf("%s: %w", kind, err))
			}
			took[i] = fmt.Sprint(time.Since(before).Nanoseconds())
		}
		fmt.Fprintln(out, strings.Join(took, " "))
		out.Flush()
	}
}

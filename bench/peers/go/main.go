// Go's libcontainer in-process, as runc uses it: times on demand what a Go host would call in place of this library.
//
//	go-libcontainer RUNC_ROOT
//
// Reads commands, one a line, and answers each with one line, the nanoseconds of each of COUNT calls:
//
//	load ID                 takes the container from runc's records; the other calls are about it
//	status|pids|stats|update|freeze COUNT
//	exec COUNT PROGRAM...   runs PROGRAM in it, from the call to its exit
//	life COUNT BUNDLE       whole containers: two numbers each, creation with start, and removal; the wait for its
//	                        end is in neither
//	hold FILE               loads what FILE names, one ID a line, keeps it and gives back the memory of its garbage
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
)

func fail(err error) {
	fmt.Fprintln(os.Stderr, "go-libcontainer:", err)
	os.Exit(1)
}

// The program runs itself for this: libcontainer's second half, in the container.
func init() {
	if len(os.Args) != 2 || os.Args[1] != "init" {
		return
	}
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread()
	logrus.SetOutput(os.Stderr)
	factory, err := libcontainer.New("")
	if err == nil {
		err = factory.StartInitialization()
	}
	fail(err)
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

func newProcess(init bool, user specs.User, args, env []string, cwd string) *libcontainer.Process {
	return &libcontainer.Process{
		Args:     args,
		Env:      env,
		User:     fmt.Sprintf("%d:%d", user.UID, user.GID),
		Cwd:      cwd,
		Init:     init,
		LogLevel: strconv.Itoa(int(logrus.ErrorLevel)),
	}
}

func run(container libcontainer.Container, process *libcontainer.Process) error {
	if err := container.Run(process); err != nil {
		return err
	}
	state, err := process.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("the program ended with %d", state.ExitCode())
	}
	return err
}

// life makes and removes one container of the bundle, whose program ends by itself.
func life(factory libcontainer.Factory, bundle, id string) (made, removed time.Duration, err error) {
	before := time.Now()
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return
	}
	var spec specs.Spec
	if err = json.Unmarshal(text, &spec); err != nil {
		return
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: id, Spec: &spec})
	if err != nil {
		return
	}
	container, err := factory.Create(id, config)
	if err != nil {
		return
	}
	process := newProcess(true, spec.Process.User, spec.Process.Args, spec.Process.Env, spec.Process.Cwd)
	err = container.Run(process)
	made = time.Since(before)
	if err == nil {
		_, err = process.Wait()
	}
	before = time.Now()
	if destroyed := container.Destroy(); err == nil {
		err = destroyed
	}
	removed = time.Since(before)
	return
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go-libcontainer RUNC_ROOT")
		os.Exit(2)
	}
	factory, err := libcontainer.New(os.Args[1])
	if err != nil {
		fail(err)
	}
	var container libcontainer.Container
	var held []libcontainer.Container
	var serial int64
	calls := map[string]func(args []string) error{
		"status": func([]string) error { _, err := container.Status(); return err },
		"pids":   func([]string) error { _, err := container.Processes(); return err },
		"stats":  func([]string) error { _, err := container.Stats(); return err },
		"update": func([]string) error { return set(container, &serial) },
		"freeze": func([]string) error {
			if err := container.Pause(); err != nil {
				return err
			}
			return container.Resume()
		},
		"exec": func(args []string) error {
			return run(container, newProcess(false, specs.User{}, args, []string{"PATH=/bin"}, "/"))
		},
	}
	out := bufio.NewWriter(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			fail(fmt.Errorf("no command: %s", lines.Text()))
		}
		kind, args := words[0], words[2:]
		var took []string
		add := func(t time.Duration) { took = append(took, fmt.Sprint(t.Nanoseconds())) }
		if kind == "load" {
			before := time.Now()
			if container, err = factory.Load(words[1]); err != nil {
				fail(err)
			}
			add(time.Since(before))
		} else if kind == "hold" {
			before := time.Now()
			ids, err := os.ReadFile(words[1])
			if err != nil {
				fail(err)
			}
			for _, id := range strings.Fields(string(ids)) {
				one, err := factory.Load(id)
				if err != nil {
					fail(err)
				}
				held = append(held, one)
			}
			add(time.Since(before))
			debug.FreeOSMemory()
		} else {
			count, err := strconv.Atoi(words[1])
			if err != nil || count < 1 {
				fail(fmt.Errorf("no command: %s", lines.Text()))
			}
			for i := 0; i < count; i++ {
				if kind == "life" {
					if err := os.Chdir(args[0]); err != nil { // the root filesystem's path is relative to it
						fail(err)
					}
					serial++
					made, removed, err := life(factory, args[0], fmt.Sprintf("go-%d-%d", os.Getpid(), serial))
					if err != nil {
						fail(fmt.Errorf("life: %w", err))
					}
					add(made)
					add(removed)
					continue
				}
				if calls[kind] == nil {
					fail(fmt.Errorf("no command: %s", lines.Text()))
				}
				before := time.Now()
				if err := calls[kind](args); err != nil {
					fail(fmt.Errorf("%s: %w", kind, err))
				}
				add(time.Since(before))
			}
		}
		fmt.Fprintln(out, strings.Join(took, " "))
		out.Flush()
	}
	runtime.KeepAlive(held)
}

{
  "variables": {
    "core_sources": [
      "native/core/files.cc",
      "native/core/frame_socket.cc",
      "native/core/process_identity.cc"
    ],
    "state_sources": [
      "native/state/oci_process.cc",
      "native/state/runtime_record.cc"
    ],
    "cgroup_sources": [
      "native/cgroup/freeze.cc",
      "native/cgroup/mode.cc",
      "native/cgroup/pids.cc"
    ],
    "nsexec_sources": [
      "native/nsexec/child.cc",
      "native/nsexec/parent.cc"
    ],
    "events_sources": [
      "native/events/connections.cc",
      "native/events/shim_spawn.cc"
    ],
    "addon_sources": [
      "native/addon/container_query.cc",
      "native/addon/convert.cc",
      "native/addon/instance.cc",
      "native/addon/module.cc"
    ],
    "shim_sources": [
      "native/shim/container.cc",
      "native/shim/container_delete.cc",
      "native/shim/container_exec.cc",
      "native/shim/container_start.cc",
      "native/shim/event_loop.cc",
      "native/shim/exit_record.cc",
      "native/shim/pidfd_exit.cc",
      "native/shim/pump.cc",
      "native/shim/runtime_run.cc",
      "native/shim/server.cc",
      "native/shim/settings.cc",
      "native/shim/stdio.cc",
      "native/shim/target.cc"
    ],
    "shim_main_sources": [
      "native/shim/main.cc",
      "native/shim/no_exceptions.cc"
    ],
    "test_sources": [
      "native/test/main_test.cc",
      "native/test/core_test.cc",
      "native/test/frame_socket_test.cc",
      "native/test/nsexec_test.cc",
      "native/test/shim_test.cc",
      "native/test/state_test.cc"
    ],
    "fuzz_sources": [
      "native/test/fuzz/frame_socket_fuzz.cc",
      "native/test/fuzz/oci_process_fuzz.cc",
      "native/test/fuzz/runtime_record_fuzz.cc"
    ],
    "cflags": [
      "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Os",
      "-ffunction-sections", "-fdata-sections", "-fvisibility=hidden",
      "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"
    ],
    "cflags_cc": ["-std=gnu++20", "-fno-exceptions", "-fno-rtti", "-fno-asynchronous-unwind-tables"],
    "addon_ldflags": ["-Wl,--gc-sections", "-Wl,-z,relro", "-Wl,-z,now"],
    "shim_ldflags": ["-Wl,--gc-sections", "-Wl,-z,relro", "-Wl,-z,now"]
  }
}

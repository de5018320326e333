{
  "variables": {
    "no_exceptions_sources": [
      "native/core/no_exceptions.cc"
    ],
    "core_sources": [
      "native/core/descriptor_message.cc",
      "native/core/files.cc",
      "native/core/frame_socket.cc",
      "native/core/process_identity.cc"
    ],
    "oci_sources": [
      "native/oci/names.cc",
      "native/oci/process_json.cc",
      "native/oci/seccomp_json.cc"
    ],
    "state_sources": [
      "native/state/runtime_record.cc",
      "native/state/state_directory.cc"
    ],
    "seccomp_sources": [
      "native/seccomp/compile.cc",
      "native/seccomp/enosys_stub.cc",
      "native/seccomp/shrink.cc"
    ],
    "cgroup_sources": [
      "native/cgroup/descriptors.cc",
      "native/cgroup/freeze.cc",
      "native/cgroup/handle.cc",
      "native/cgroup/handle_parts.cc",
      "native/cgroup/kill.cc",
      "native/cgroup/layout.cc",
      "native/cgroup/memory_events.cc",
      "native/cgroup/own_cgroup.cc",
      "native/cgroup/pids.cc",
      "native/cgroup/remove.cc",
      "native/cgroup/stats/files.cc",
      "native/cgroup/stats/parse.cc",
      "native/cgroup/tree_kill.cc",
      "native/cgroup/update/hints.cc",
      "native/cgroup/update/json_text.cc",
      "native/cgroup/update/plan.cc",
      "native/cgroup/update/plan_v1.cc",
      "native/cgroup/update/plan_v2.cc",
      "native/cgroup/update/record_file.cc",
      "native/cgroup/update/record_patch.cc",
      "native/cgroup/update/resources_json.cc",
      "native/cgroup/update/writer.cc",
      "native/cgroup/walk.cc"
    ],
    "cgroup_shim_sources": [
      "native/cgroup/kill.cc",
      "native/cgroup/layout.cc",
      "native/cgroup/memory_events.cc",
      "native/cgroup/own_cgroup.cc",
      "native/cgroup/pids.cc",
      "native/cgroup/remove.cc",
      "native/cgroup/tree_kill.cc",
      "native/cgroup/walk.cc"
    ],
    "container_sources": [
      "native/container/live_container.cc",
      "native/container/own.cc",
      "native/container/recorded_cgroups.cc",
      "native/container/stats_of_all.cc",
      "native/container/update.cc"
    ],
    "container_shim_sources": [
      "native/container/recorded_cgroups.cc"
    ],
    "nsexec_sources": [
      "native/nsexec/bounding.cc",
      "native/nsexec/child.cc",
      "native/nsexec/child_memory.cc",
      "native/nsexec/clone.cc",
      "native/nsexec/confine.cc",
      "native/nsexec/join.cc",
      "native/nsexec/parent.cc",
      "native/nsexec/pid_slots.cc",
      "native/nsexec/terminal.cc"
    ],
    "client_sources": [
      "native/client/connections.cc",
      "native/client/shim_spawn.cc"
    ],
    "events_sources": [
      "native/events/epoll_thread.cc",
      "native/events/inotify.cc",
      "native/events/memory_file.cc",
      "native/events/nested_kills.cc",
      "native/events/oom_source.cc",
      "native/events/pressure_source.cc",
      "native/events/readiness.cc",
      "native/events/watches.cc"
    ],
    "addon_sources": [
      "native/addon/convert.cc",
      "native/addon/instance.cc",
      "native/addon/lane.cc",
      "native/addon/libc_floor.cc",
      "native/addon/module.cc",
      "native/addon/readiness_calls.cc",
      "native/addon/state_calls.cc",
      "native/addon/stats_object.cc",
      "native/addon/watch_calls.cc"
    ],
    "shim_sources": [
      "native/shim/care.cc",
      "native/shim/caretaker.cc",
      "native/shim/checkpoint_directory.cc",
      "native/shim/container.cc",
      "native/shim/container_care.cc",
      "native/shim/container_checkpoint.cc",
      "native/shim/container_delete.cc",
      "native/shim/container_exec.cc",
      "native/shim/container_restore.cc",
      "native/shim/container_start.cc",
      "native/shim/container_takeover.cc",
      "native/shim/exec_records.cc",
      "native/shim/criu_log.cc",
      "native/shim/device_node.cc",
      "native/shim/endpoint.cc",
      "native/shim/event_loop.cc",
      "native/shim/exit_record.cc",
      "native/shim/extra_fds.cc",
      "native/shim/file_sink.cc",
      "native/shim/keeper.cc",
      "native/shim/kept_bytes.cc",
      "native/shim/null_device.cc",
      "native/shim/oom_log.cc",
      "native/shim/own_cgroup.cc",
      "native/shim/pidfd_exit.cc",
      "native/shim/pipe_users.cc",
      "native/shim/process_tree.cc",
      "native/shim/pump.cc",
      "native/shim/relay.cc",
      "native/shim/runtime_run.cc",
      "native/shim/seccomp_filter.cc",
      "native/shim/server.cc",
      "native/shim/settings.cc",
      "native/shim/stdio.cc",
      "native/shim/stdio_spec.cc",
      "native/shim/target.cc"
    ],
    "shim_main_sources": [
      "native/shim/main.cc",
      "native/shim/musl_fortify.cc"
    ],
    "test_sources": [
      "native/test/cgroup_freeze_test.cc",
      "native/test/cgroup_handle_test.cc",
      "native/test/cgroup_layout_test.cc",
      "native/test/cgroup_memory_events_test.cc",
      "native/test/cgroup_pids_test.cc",
      "native/test/cgroup_plan_test.cc",
      "native/test/cgroup_record_file_test.cc",
      "native/test/cgroup_record_patch_test.cc",
      "native/test/cgroup_resources_json_test.cc",
      "native/test/cgroup_stats_parse_test.cc",
      "native/test/cgroup_writer_test.cc",
      "native/test/checkpoint_test.cc",
      "native/test/container_test.cc",
      "native/test/core_test.cc",
      "native/test/exec_records_test.cc",
      "native/test/file_sink_test.cc",
      "native/test/frame_socket_test.cc",
      "native/test/kept_bytes_test.cc",
      "native/test/main_test.cc",
      "native/test/nsexec_test.cc",
      "native/test/own_cgroup_test.cc",
      "native/test/oom_log_test.cc",
      "native/test/readiness_test.cc",
      "native/test/seccomp_test.cc",
      "native/test/shim_test.cc",
      "native/test/state_directory_test.cc",
      "native/test/state_test.cc"
    ],
    "fuzz_sources": [
      "native/test/fuzz/cgroup_layout_fuzz.cc",
      "native/test/fuzz/cgroup_record_fuzz.cc",
      "native/test/fuzz/cgroup_stats_fuzz.cc",
      "native/test/fuzz/frame_socket_fuzz.cc",
      "native/test/fuzz/oci_process_fuzz.cc",
      "native/test/fuzz/runtime_record_fuzz.cc",
      "native/test/fuzz/shim_protocol_fuzz.cc"
    ],
    "cflags": [
      "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-maybe-uninitialized", "-Os",
      "-ffunction-sections", "-fdata-sections", "-fvisibility=hidden",
      "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"
    ],
    "cflags_cc": ["-std=gnu++20", "-fno-exceptions", "-fno-rtti", "-fno-asynchronous-unwind-tables"],
    "addon_cflags": ["-O2"],
    "addon_ldflags": [
      "-Wl,--gc-sections", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed", "-Wl,--build-id=none"
    ],
    "shim_cflags": ["-flto=auto", "-Oz", "-fconserve-stack"],
    "shim_ldflags": ["-flto=auto", "-Oz", "-fconserve-stack", "-Wl,--gc-sections", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,--build-id=none"]
  }
}

{
  "includes": ["native/sources.gypi"],
  "target_defaults": {
    "include_dirs": ["native"],
    "cflags": ["<@(cflags)"],
    "cflags_cc": ["<@(cflags_cc)"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++1y"],
    "configurations": {
      "Release": {"cflags!": ["-O3"]}
    }
  },
  "targets": [
    {
      "target_name": "libcontainer",
      "product_prefix": "lib",
      "product_name": "container",
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "sources": [
        "<@(core_sources)", "<@(state_sources)", "<@(cgroup_sources)", "<@(events_sources)", "<@(addon_sources)"
      ],
      "cflags": ["<@(addon_cflags)"],
      "ldflags": ["<@(addon_ldflags)"]
    },
    {
      "target_name": "libcontainer-shim",
      "type": "executable",
      "sources": [
        "<@(core_sources)", "<@(state_sources)", "<@(cgroup_shim_sources)", "<@(nsexec_sources)", "<@(seccomp_sources)",
        "<@(shim_sources)",
        "<@(shim_main_sources)"
      ],
      "cflags": ["<!@(sh scripts/shim-toolchain.sh cflags)"],
      "cflags!": ["-D_FORTIFY_SOURCE=2"],
      "ldflags": ["<@(shim_ldflags)", "<!@(sh scripts/shim-toolchain.sh ldflags)"],
      "libraries": ["<!@(sh scripts/shim-toolchain.sh libs)"]
    }
  ]
}

# What node-gyp builds. A checkout's binding.gyp includes it; the package has no binding.gyp, for which npm would run
# node-gyp on installation: libcontainer-build makes one where it compiles.
{
  "includes": ["sources.gypi"],
  "target_defaults": {
    "include_dirs": ["."],
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
        "<@(core_sources)", "<@(state_sources)", "<@(cgroup_sources)", "<@(container_sources)",
        "<@(client_sources)", "<@(events_sources)", "<@(addon_sources)", "<@(no_exceptions_sources)"
      ],
      "cflags": ["<@(addon_cflags)", "<!@(sh scripts/toolchain.sh addon cflags)"],
      "ldflags": [
        "<@(addon_ldflags)", "-Wl,--version-script=<(module_root_dir)/native/addon/exports.map",
        "<!@(sh scripts/toolchain.sh addon ldflags)"
      ],
      "libraries": ["<!@(sh scripts/toolchain.sh addon libs)"]
    },
    {
      "target_name": "libcontainer-shim",
      "type": "executable",
      "sources": [
        "<@(core_sources)", "<@(oci_sources)", "<@(state_sources)", "<@(cgroup_shim_sources)",
        "<@(container_shim_sources)", "<@(nsexec_sources)", "<@(seccomp_sources)",
        "<@(shim_sources)", "<@(shim_main_sources)", "<@(no_exceptions_sources)"
      ],
      "cflags": ["<@(shim_cflags)", "<!@(sh scripts/toolchain.sh shim cflags)"],
      "cflags!": ["-D_FORTIFY_SOURCE=2"],
      "ldflags!": ["-rdynamic"],
      "ldflags": ["<@(shim_ldflags)", "<!@(sh scripts/toolchain.sh shim ldflags)"],
      "libraries": ["<!@(sh scripts/toolchain.sh shim libs)"]
    }
  ]
}

/*
 * Loads an addon as a Node of musl's would: every function that it asks of Node and of the C library must be there, now
 * and not at its first call. Node's own are in nothing.c, which the test makes of the addon's list.
 */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char** argv) {
  (void)argc;
  void* addon = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (!addon) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  int (*version)(void) = (int (*)(void))dlsym(addon, "node_api_module_get_api_version_v1");
  if (!version || !dlsym(addon, "napi_register_module_v1")) return 2;
  printf("Node-API %d\n", version());
  return 0;
}

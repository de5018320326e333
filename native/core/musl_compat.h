// Included before everything else when addon or shim is built with musl: the C++ headers of a glibc system
// were configured for glibc, and name a few things that musl does not have. Nothing of what is declared here
// is ever called.
#pragma once

#define __GLIBC_PREREQ(major, minor) 0
#define __locale_t locale_t
#define _ISupper 0x0100
#define _ISlower 0x0200
#define _ISalpha 0x0400
#define _ISdigit 0x0800
#define _ISxdigit 0x1000
#define _ISspace 0x2000
#define _ISprint 0x4000
#define _ISgraph 0x8000
#define _ISblank 0x0001
#define _IScntrl 0x0002
#define _ISpunct 0x0004
#define _ISalnum 0x0008

#include <pthread.h>

extern "C" {
int pthread_cond_clockwait(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*);
int pthread_mutex_clocklock(pthread_mutex_t*, clockid_t, const timespec*);
int pthread_rwlock_clockrdlock(pthread_rwlock_t*, clockid_t, const timespec*);
int pthread_rwlock_clockwrlock(pthread_rwlock_t*, clockid_t, const timespec*);
}

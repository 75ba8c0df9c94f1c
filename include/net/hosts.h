/* hosts: the hosts file (hosts(5)), kept in memory and read again when it has
 * changed. Belongs to one worker. */
#ifndef NET_HOSTS_H
#define NET_HOSTS_H

#include "net/resolver.h"

struct hosts;

/* The file need not exist, now or later. NULL: out of memory. */
struct hosts *hosts_new(const char *path);
/* All addresses of name (any case) in the order of the file; ports are 0. */
bool hosts_find(struct hosts *h, struct str name, struct addresses *out);
void hosts_free(struct hosts *h);

#endif

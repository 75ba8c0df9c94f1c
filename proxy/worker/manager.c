/* manager: see the header. */
#include "worker/manager.h"

#include <time.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#ifdef HAVE_SYSTEMD

void manager_ready(const char *status)
{
	sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void manager_reloading(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reading the configuration again",
		   (unsigned long long)now.tv_sec * 1000000 +
		   (unsigned long long)now.tv_nsec / 1000);
}

void manager_stopping(const char *status)
{
	sd_notifyf(0, "STOPPING=1\nSTATUS=%s", status);
}

void manager_status(const char *status)
{
	sd_notifyf(0, "STATUS=%s", status);
}

/* Half of what systemd grants, as its manual recommends. */
uint32_t manager_watchdog_ms(void)
{
	uint64_t us;

	return sd_watchdog_enabled(0, &us) > 0 ? (uint32_t)(us / 2000) : 0;
}

void manager_feed(void)
{
	sd_notify(0, "WATCHDOG=1");
}

#else

void manager_ready(const char *status)
{
}

void manager_reloading(void)
{
}

void manager_stopping(const char *status)
{
}

void manager_status(const char *status)
{
}

uint32_t manager_watchdog_ms(void)
{
	return 0;
}

void manager_feed(void)
{
}

#endif

/* origins: see the header. A linear search: the table is small, and an exchange
 * that comes here has just made a round trip more than others. */
#include "worker/origins.h"

#include <stdlib.h>

static void add(struct origin_cost *sum, const struct origin_cost *more)
{
	sum->challenged += more->challenged;
	sum->replays += more->replays;
	sum->final += more->final;
	sum->again += more->again;
	sum->lost += more->lost;
	sum->unanswered += more->unanswered;
	sum->added_ms += more->added_ms;
	sum->octets += more->octets;
	if (more->seen > sum->seen)
		sum->seen = more->seen;
}

static struct origin_row *find(struct origins *o, struct str name)
{
	for (unsigned i = 0; i < o->n; i++)
		if (str_eq(str_of(o->row[i].name), name))
			return &o->row[i];
	return NULL;
}

static struct origin_row *fold_oldest(struct origins *o)
{
	struct origin_row *oldest = &o->row[0];

	for (unsigned i = 1; i < o->n; i++)
		if (o->row[i].cost.seen < oldest->cost.seen)
			oldest = &o->row[i];
	add(&o->other, &oldest->cost);
	o->folded++;
	return oldest;
}

static struct origin_row *make(struct origins *o, struct str name)
{
	struct origin_row *r = o->n < ORIGINS_MOST ? &o->row[o->n++] : fold_oldest(o);

	memset(&r->cost, 0, sizeof r->cost);
	memcpy(r->name, name.at, name.len);
	r->name[name.len] = '\0';
	return r;
}

void origins_note(struct origins *o, struct str origin, const struct origin_cost *more)
{
	struct str name = str_first(origin, ORIGIN_ROOM - 1);
	struct origin_row *r;

	if (!name.len) {		/* the arena was full when it was spelled */
		add(&o->other, more);
		return;
	}
	r = find(o, name);
	add(r ? &r->cost : &make(o, name)->cost, more);
}

void origins_add(struct origins *sum, const struct origins *one)
{
	for (unsigned i = 0; i < one->n; i++)
		origins_note(sum, str_of(one->row[i].name), &one->row[i].cost);
	add(&sum->other, &one->other);
	sum->folded += one->folded;
}

static int dearer(const void *a, const void *b)
{
	const struct origin_row *x = a, *y = b;

	if (x->cost.challenged != y->cost.challenged)
		return x->cost.challenged < y->cost.challenged ? 1 : -1;
	return strcmp(x->name, y->name);
}

void origins_sort(struct origins *o)
{
	qsort(o->row, o->n, sizeof o->row[0], dearer);
}

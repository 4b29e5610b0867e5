/* boot_place.h - what the files of boot.h share: places, and what is open at them. */
#ifndef VT_BOOT_PLACE_H
#define VT_BOOT_PLACE_H

#include "transport/boot.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/types.h>

/* The socket of a plan's connection. */
struct vt_conn {
    int fd;
    struct sockaddr_storage address;
    socklen_t address_len;
    size_t greeted;                 /* bytes */
    vt_time heard;                  /* last byte; real time */
    struct vt_buf head;
};

/* What a wait has open: tries[i] of the plan has conns[i]. */
struct vt_conns {
    struct vt_plan plan;
    struct vt_conn list[VT_TRIES];
};

#define VT_HALVES 8                     /* of one place; as many threads may wait for it at once */

/* Who waits at a place just now. */
struct vt_boot_wait {
    struct vt_boot_wait *next;
    struct vt_conns *open;
    int wake_fd;                    /* eventfd: the place has news */
    bool was_reset;
};

struct vt_place {
    struct vt_place *next;
    char host[256];
    char alias[256];                /* name that led here by its address, last; or "" */
    int port, guest_port;
    bool told;
    struct sockaddr_storage canary;
    socklen_t canary_len;           /* 0: none */
    struct vt_known known;
    int tries, hang_ups;            /* since somebody waits */
    struct vt_conns *kept;          /* for the next login, or NULL */
    vt_time kept_at;
    struct vt_boot_wait *waits;
    struct { struct vt_half half; vt_time at; } halves[VT_HALVES];     /* the oldest first; logins that are not ended */
    int half_count;
    enum vt_rc why;                 /* why nothing is opened for now, or VT_OK; */
    enum vt_stage stage;            /* where that was seen, behind the banner, */
    char words[200];                /* and the server's words, or ours */
};

/* The mutex guards all of it; it is held while sockets are closed, but never while waiting. */
struct vt_places {
    pthread_mutex_t mutex;
    struct vt_place *list;          /* the latest used first */
    pid_t pid;
    int pace;
    int count;
};

/* The plan's clock, and back to the real one. */
vt_time vt_places_now(const struct vt_places *all);
vt_time vt_places_real(const struct vt_places *all, vt_time planned);

void vt_places_lock(struct vt_places *all);             /* drops all first, in a forked child */
void vt_places_unlock(struct vt_places *all);

/* With the lock: the place of a host, or of one of its addresses; NULL. */
struct vt_place *vt_place_find(struct vt_places *all, const char *host, int port);
/* Also by the name that led to it. */
struct vt_place *vt_place_of_login(struct vt_places *all, const char *host, int port);
struct vt_place *vt_place_make(struct vt_places *all, const char *host, int port, bool forwarded);

/* Closes what is kept for the next login. */
void vt_place_drop_kept(struct vt_place *place);
void vt_place_drop_halves(struct vt_place *place);
/* A half of the place's is about to be dropped without authentication. */
void vt_place_give_up(struct vt_place *place, const struct vt_half *half, vt_time now);
/* Takes one out of the list; it is the caller's. */
struct vt_half vt_place_take_half(struct vt_place *place, int i);

struct vt_conns *vt_conns_new(struct vt_place *place);
void vt_conns_drop(struct vt_conns *c, int slot);
void vt_conns_free(struct vt_conns *c);                 /* closes all; NULL is fine */
/* Moves what `from` has into free slots of `to`; what does not fit is closed. */
void vt_conns_move(struct vt_conns *to, struct vt_conns *from);
/* Wakes who waits at the place. */
void vt_place_news(struct vt_place *place);

#endif

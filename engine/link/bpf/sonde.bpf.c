// The xdp link's program: one for both directions.
//
// On a test run with live frames (BPF_PROG_TEST_RUN, kernel net/bpf/test_run.c) it takes the next frame that user
// space left in `slots` and redirects it to the LAN interface. Attached to that interface it looks at what comes in:
//
//   TCP to our port, echo replies   proven by their cookie: a record in `hits`, and the frame ends here;
//                                   proven for another VLAN: whole to user space; forged: counted, and ends here
//   UDP to our port                 whole to user space, and ends here
//   ARP, neighbor discovery, ICMP   whole to user space, and on to the kernel
//   everything else                 on to the kernel, untouched
//
// "Ours" is a source address of the scan in the VLAN the frame came in. Until user space has said what to expect
// (`config.expecting`), everything goes to the kernel. All integers of maps are in host order unless they say `be`.

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLANS 4096
#define SLOTS 1024
#define SLOT_BYTES 512

#define ETH_HEADER 14
#define TAG 4
#define ARP 0x0806
#define IPV4 0x0800
#define IPV6 0x86dd
#define DOT1Q 0x8100
#define TCP 6
#define UDP 17
#define ICMP 1
#define ICMPV6 58

#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

// What an answer was to, as in the cookie (engine/core/src/cookie.rs).
#define ASKED_ECHO 1

enum hit_kind { HIT_OPEN = 0, HIT_CLOSED = 1, HIT_ECHO = 2 };

struct config {
	__u64 key[2];
	__u32 ifindex;
	__u16 port_be;
	// 0: nothing is expected; 1: answers go to user space whole; 2: they are judged here.
	__u8 expecting;
	// Connections that were accepted are reset from here, whoever owns the address.
	__u8 resets;
};

// Our addresses in one VLAN; all zeros where there is none.
struct source {
	__u32 ipv4_be;
	// What the VLAN adds to a cookie.
	__u32 word;
	__u64 ipv6_be[2];
	// The kernel owns the address itself: what is for it must reach it.
	__u8 kernel_owned;
	__u8 pad[7];
};

struct slot {
	__u32 length;
	__u32 pad;
	__u8 bytes[SLOT_BYTES];
};

// Where the sender is: user space sets both before a run, the program counts `next` up.
struct turn {
	__u32 next;
	__u32 count;
};

struct hit {
	__u8 ip_be[16];
	// What a connection that was accepted expects next.
	__u32 ack;
	__u16 port;
	__u16 vlan;
	__u8 kind;
	__u8 ipv6;
	__u8 ttl;
	// The connection has been reset from here.
	__u8 reset;
	__u8 mac[6];
	__u8 pad2[6];
};

// A frame as it came in, cut at the record's end.
#define FRAME_HEADER 8
#define SHORT_FRAME 120
#define LONG_FRAME 2040
struct short_frame {
	__u32 length;
	__u32 kept;
	__u8 bytes[SHORT_FRAME];
};
struct long_frame {
	__u32 length;
	__u32 kept;
	__u8 bytes[LONG_FRAME];
};

enum counter {
	COUNT_HITS,
	COUNT_HITS_LOST, // no room in `hits`
	COUNT_FRAMES,
	COUNT_FRAMES_LOST, // no room in `frames`
	COUNT_FORGED,
	COUNT_RESETS,
	COUNTERS,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VLANS);
	__type(key, __u32);
	__type(value, struct source);
} sources SEC(".maps");

// VLAN by its word, for answers that come in on another.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VLANS);
	__type(key, __u32);
	__type(value, __u32);
} words SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct turn);
} turns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 21);
} frames SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &which);
	if (value)
		*value += 1;
}

// ---------------------------------------------------------------------------------------------- out

static __always_inline int send_next(struct xdp_md *ctx, const struct config *cfg)
{
	__u32 zero = 0;
	struct turn *turn = bpf_map_lookup_elem(&turns, &zero);
	if (!turn)
		return XDP_DROP;
	__u32 index = turn->next;
	if (index >= turn->count)
		return XDP_DROP;
	turn->next = index + 1;
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return XDP_DROP;
	__u32 length = slot->length;
	if (length < ETH_HEADER || length > SLOT_BYTES)
		return XDP_DROP;
	int more = (int)length - (int)(ctx->data_end - ctx->data);
	if (more && bpf_xdp_adjust_tail(ctx, more))
		return XDP_DROP;
	// The page still holds what its last trip left in it: every byte is written.
	if (bpf_xdp_store_bytes(ctx, 0, slot->bytes, length))
		return XDP_DROP;
	return bpf_redirect(cfg->ifindex, 0);
}

// --------------------------------------------------------------------------------------------- proof

#define ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define ROUND                                                                                      \
	do {                                                                                       \
		v0 += v1; v1 = ROTATE(v1, 13); v1 ^= v0; v0 = ROTATE(v0, 32);                      \
		v2 += v3; v3 = ROTATE(v3, 16); v3 ^= v2;                                           \
		v0 += v3; v3 = ROTATE(v3, 21); v3 ^= v0;                                           \
		v2 += v1; v1 = ROTATE(v1, 17); v1 ^= v2; v2 = ROTATE(v2, 32);                      \
	} while (0)
#define TAKE(m)                                                                                    \
	do {                                                                                       \
		v3 ^= (m);                                                                         \
		ROUND;                                                                             \
		v0 ^= (m);                                                                         \
	} while (0)

// SipHash-1-3 of `words` 8-byte words and a last one that holds the rest and, on top, the message's length
// (https://www.aumasson.jp/siphash/siphash.pdf, section 2).
static __always_inline __u32 sip13(const struct config *cfg, const __u64 *m, int count_of, __u64 last)
{
	__u64 v0 = cfg->key[0] ^ 0x736f6d6570736575ULL;
	__u64 v1 = cfg->key[1] ^ 0x646f72616e646f6dULL;
	__u64 v2 = cfg->key[0] ^ 0x6c7967656e657261ULL;
	__u64 v3 = cfg->key[1] ^ 0x7465646279746573ULL;
#pragma unroll
	for (int i = 0; i < count_of; i++)
		TAKE(m[i]);
	TAKE(last);
	v2 ^= 0xff;
	ROUND;
	ROUND;
	ROUND;
	return (__u32)(v0 ^ v1 ^ v2 ^ v3);
}

// The low half of the hash of a question; `port` in network order, so that its bytes follow each other as they do there.
static __always_inline __u32 hash_ipv4(const struct config *cfg, __u32 ip_be, __u8 protocol, __u16 port_be)
{
	__u64 m = (__u64)ip_be | 4ULL << 32 | (__u64)protocol << 40 | (__u64)port_be << 48;
	return sip13(cfg, &m, 1, 8ULL << 56);
}

static __always_inline __u32 hash_ipv6(const struct config *cfg, const __u64 *ip_be, __u8 protocol, __u16 port_be)
{
	__u64 last = 6ULL | (__u64)protocol << 8 | (__u64)port_be << 16 | 20ULL << 56;
	return sip13(cfg, ip_be, 2, last);
}

// ------------------------------------------------------------------------------------------------ in

// A frame that came in, as far as it has been looked at.
struct seen {
	__u32 vlan;
	const struct config *cfg;
	const struct source *source;
	// The remote side.
	__u64 ip_be[2];
	__u8 ipv6;
	__u8 ttl;
	// Is the destination address ours in this VLAN?
	__u8 ours;
};

// Rare, so one copy of it.
static __noinline void hand_over(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;
	if (length <= SHORT_FRAME) {
		struct short_frame *frame = bpf_ringbuf_reserve(&frames, sizeof(*frame), 0);
		if (!frame)
			return count(COUNT_FRAMES_LOST);
		frame->length = length;
		frame->kept = length;
		if (length < ETH_HEADER || bpf_xdp_load_bytes(ctx, 0, frame->bytes, length))
			return bpf_ringbuf_discard(frame, 0);
		bpf_ringbuf_submit(frame, 0);
	} else {
		struct long_frame *frame = bpf_ringbuf_reserve(&frames, sizeof(*frame), 0);
		if (!frame)
			return count(COUNT_FRAMES_LOST);
		__u32 kept = length > LONG_FRAME ? LONG_FRAME : length;
		frame->length = length;
		frame->kept = kept;
		if (bpf_xdp_load_bytes(ctx, 0, frame->bytes, kept))
			return bpf_ringbuf_discard(frame, 0);
		bpf_ringbuf_submit(frame, 0);
	}
	count(COUNT_FRAMES);
}

// Whether `value`, brought back in an answer, is the cookie of the question. Leaks go to user space.
static __always_inline int prove(struct xdp_md *ctx, const struct seen *seen, __u8 protocol, __u16 port_be, __u32 value)
{
	__u32 hash = seen->ipv6 ? hash_ipv6(seen->cfg, seen->ip_be, protocol, port_be)
				: hash_ipv4(seen->cfg, (__u32)seen->ip_be[0], protocol, port_be);
	__u32 word = value ^ hash;
	if (word == seen->source->word)
		return 1;
	if (bpf_map_lookup_elem(&words, &word))
		hand_over(ctx);
	else
		count(COUNT_FORGED);
	return 0;
}

// False when there was no room.
static __always_inline int hit(const __u8 *mac, const struct seen *seen, __u8 kind, __u16 port_be, __u32 ack,
			       __u8 reset)
{
	struct hit *hit = bpf_ringbuf_reserve(&hits, sizeof(*hit), 0);
	if (!hit) {
		count(COUNT_HITS_LOST);
		return 0;
	}
	__builtin_memcpy(hit->ip_be, seen->ip_be, 16);
	hit->ack = ack;
	hit->port = bpf_ntohs(port_be);
	hit->vlan = seen->vlan;
	hit->kind = kind;
	hit->ipv6 = seen->ipv6;
	hit->ttl = seen->ttl;
	hit->reset = reset;
	__builtin_memcpy(hit->mac, mac, 6);
	bpf_ringbuf_submit(hit, 0);
	count(COUNT_HITS);
	return 1;
}

struct tcp {
	__u16 source_be, dest_be;
	__u32 seq_be, ack_be;
	__u8 offset, flags;
	__u16 window_be, checksum, urgent;
} __attribute__((packed));

static __always_inline __u16 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline void swap_macs(__u8 *data)
{
	__u8 mac[6];
	__builtin_memcpy(mac, data, 6);
	__builtin_memcpy(data, data + 6, 6);
	__builtin_memcpy(data + 6, mac, 6);
}

// Turns an accepted connection's segment into the reset that ends it (RFC 9293 section 3.5.2, group 2: the
// sequence number is what the segment acknowledged). `pseudo` is the sum of addresses, length and protocol.
static __always_inline void reset_segment(struct tcp *tcp, __u64 pseudo)
{
	__u16 port_be = tcp->source_be;
	tcp->source_be = tcp->dest_be;
	tcp->dest_be = port_be;
	tcp->seq_be = tcp->ack_be;
	tcp->ack_be = 0;
	tcp->offset = 5 << 4;
	tcp->flags = TCP_RST;
	tcp->window_be = 0;
	tcp->checksum = 0;
	tcp->urgent = 0;
	pseudo += (__u32)tcp->source_be + tcp->dest_be + tcp->seq_be + bpf_htons(5 << 12 | TCP_RST);
	tcp->checksum = folded(pseudo);
}

// Sent by redirection, not by XDP_TX: that wakes the far end of a veth only if it runs a program (veth_xdp_flush).
static __always_inline int reset_ipv4(struct xdp_md *ctx, __u32 ifindex, __u32 at)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcp *tcp = (void *)data + at;
	if ((void *)(tcp + 1) > (void *)end)
		return XDP_DROP;
	__u8 *ip = (__u8 *)tcp - 20;
	swap_macs(data);
	__u32 source_be = *(__u32 *)(ip + 12), dest_be = *(__u32 *)(ip + 16);
	*(__u32 *)ip = bpf_htonl(0x45000000 | 40);
	*(__u32 *)(ip + 4) = bpf_htonl(0x4000);
	*(__u32 *)(ip + 8) = bpf_htonl(64 << 24 | TCP << 16);
	*(__u32 *)(ip + 12) = dest_be;
	*(__u32 *)(ip + 16) = source_be;
	__u64 addresses = (__u64)source_be + dest_be;
	*(__u16 *)(ip + 10) = folded(addresses + *(__u32 *)ip + *(__u32 *)(ip + 4) + *(__u32 *)(ip + 8));
	reset_segment(tcp, addresses + bpf_htons(TCP) + bpf_htons(20));
	return bpf_redirect(ifindex, 0);
}

static __always_inline int reset_ipv6(struct xdp_md *ctx, __u32 ifindex, __u32 at)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcp *tcp = (void *)data + at;
	if ((void *)(tcp + 1) > (void *)end)
		return XDP_DROP;
	__u32 *ip = (void *)tcp - 40;
	swap_macs(data);
	ip[0] = bpf_htonl(0x60000000);
	ip[1] = bpf_htonl(20 << 16 | TCP << 8 | 64);
	__u64 sum = bpf_htons(TCP) + bpf_htons(20);
#pragma unroll
	for (int i = 2; i < 6; i++) {
		__u32 word = ip[i];
		ip[i] = ip[i + 4];
		ip[i + 4] = word;
		sum += (__u64)word + ip[i];
	}
	reset_segment(tcp, sum);
	return bpf_redirect(ifindex, 0);
}

static __always_inline int tcp_answer(struct xdp_md *ctx, struct seen *seen, __u32 at)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcp *tcp = (void *)data + at;
	if ((void *)(tcp + 1) > (void *)end || tcp->dest_be != seen->cfg->port_be)
		return XDP_PASS;
	if (seen->cfg->expecting == 1 || !seen->ours) {
		// Of another of our VLANs, perhaps: user space knows. The kernel resets what reaches its own address.
		hand_over(ctx);
		return seen->ours && !seen->source->kernel_owned ? XDP_DROP : XDP_PASS;
	}
	__u8 flags = tcp->flags & (TCP_SYN | TCP_RST | TCP_ACK);
	__u8 open = flags == (TCP_SYN | TCP_ACK);
	if (!open && flags != (TCP_RST | TCP_ACK))
		return XDP_DROP;
	__u32 ack = bpf_ntohl(tcp->ack_be);
	__u16 port_be = tcp->source_be;
	if (!prove(ctx, seen, TCP, port_be, ack - 1))
		return XDP_DROP;
	__u8 reset = open && (seen->source->kernel_owned || seen->cfg->resets);
	// An answer that is lost here is asked for again, as if the network had lost it: nothing is reset then.
	if (!hit(data + 6, seen, open ? HIT_OPEN : HIT_CLOSED, port_be, ack, reset) || !reset)
		return XDP_DROP;
	count(COUNT_RESETS);
	return seen->ipv6 ? reset_ipv6(ctx, seen->cfg->ifindex, at) : reset_ipv4(ctx, seen->cfg->ifindex, at);
}

static __always_inline int echo_answer(struct xdp_md *ctx, struct seen *seen, __u32 at)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 *icmp = data + at;
	if (icmp + 8 > end || !seen->ours)
		return XDP_PASS;
	if (seen->cfg->expecting == 1) {
		hand_over(ctx);
		return XDP_PASS;
	}
	__u32 value = (__u32)icmp[4] << 24 | (__u32)icmp[5] << 16 | (__u32)icmp[6] << 8 | icmp[7];
	// Not proven, it may be the answer to somebody else's echo on this machine.
	if (!prove(ctx, seen, ASKED_ECHO, 0, value))
		return XDP_PASS;
	hit(data + 6, seen, HIT_ECHO, 0, 0, 0);
	return XDP_DROP;
}

static __always_inline int udp_answer(struct xdp_md *ctx, struct seen *seen, __u32 at)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u16 *udp = (void *)data + at;
	if ((void *)(udp + 4) > (void *)end || udp[1] != seen->cfg->port_be)
		return XDP_PASS;
	hand_over(ctx);
	return seen->ours ? XDP_DROP : XDP_PASS;
}

// An echo request to us: for user space if the address is ours alone, for the kernel if it is its own.
static __always_inline int echo_request(struct xdp_md *ctx, struct seen *seen)
{
	if (!seen->ours || seen->source->kernel_owned)
		return XDP_PASS;
	hand_over(ctx);
	return XDP_DROP;
}

static __always_inline int ipv4(struct xdp_md *ctx, struct seen *seen, __u32 at)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 *ip = data + at;
	if (ip + 20 + 8 > end)
		return XDP_PASS;
	seen->ip_be[0] = *(__u32 *)(ip + 12);
	seen->ours = seen->source->ipv4_be && *(__u32 *)(ip + 16) == seen->source->ipv4_be;
	seen->ttl = ip[8];
	// Fragments are nobody's answer; options are rare enough for user space.
	if (*(__u16 *)(ip + 6) & bpf_htons(0x3fff))
		return XDP_PASS;
	if (ip[0] != 0x45) {
		if (seen->ours)
			hand_over(ctx);
		return XDP_PASS;
	}
	switch (ip[9]) {
	case TCP:
		return tcp_answer(ctx, seen, at + 20);
	case UDP:
		return udp_answer(ctx, seen, at + 20);
	case ICMP:
		if (ip[20] == 0)
			return echo_answer(ctx, seen, at + 20);
		if (ip[20] == 8)
			return echo_request(ctx, seen);
		hand_over(ctx);
	}
	return XDP_PASS;
}

static __always_inline int ipv6(struct xdp_md *ctx, struct seen *seen, __u32 at)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 *ip = data + at;
	if (ip + 40 + 8 > end)
		return XDP_PASS;
	__u64 dst[2];
	__builtin_memcpy(seen->ip_be, ip + 8, 16);
	__builtin_memcpy(dst, ip + 24, 16);
	seen->ipv6 = 1;
	seen->ttl = ip[7];
	seen->ours = dst[0] == seen->source->ipv6_be[0] && dst[1] == seen->source->ipv6_be[1] && (dst[0] | dst[1]);
	switch (ip[6]) {
	case TCP:
		return tcp_answer(ctx, seen, at + 40);
	case UDP:
		return udp_answer(ctx, seen, at + 40);
	case ICMPV6:
		if (ip[40] == 129)
			return echo_answer(ctx, seen, at + 40);
		if (ip[40] == 128)
			return echo_request(ctx, seen);
		// Errors (1 to 4) and neighbor discovery (135, 136).
		if (ip[40] < 5 || ip[40] == 135 || ip[40] == 136)
			hand_over(ctx);
		return XDP_PASS;
	case 0:
	case 43:
	case 60:
		// Behind extension headers, which are rare enough for user space.
		if (seen->ours)
			hand_over(ctx);
	}
	return XDP_PASS;
}

static __always_inline int receive(struct xdp_md *ctx, const struct config *cfg)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + ETH_HEADER + TAG > end)
		return XDP_PASS;
	struct seen seen = { .cfg = cfg };
	__u16 type = bpf_ntohs(*(__u16 *)(data + 12));
	__u32 at = ETH_HEADER;
	if (type == DOT1Q) {
		seen.vlan = bpf_ntohs(*(__u16 *)(data + 14)) & 0xfff;
		type = bpf_ntohs(*(__u16 *)(data + 16));
		at += TAG;
	}
	__u32 vlan = seen.vlan;
	seen.source = bpf_map_lookup_elem(&sources, &vlan);
	if (!seen.source)
		return XDP_PASS;
	if (type == IPV4)
		return ipv4(ctx, &seen, at);
	if (type == IPV6)
		return ipv6(ctx, &seen, at);
	// Behind a second tag, too: it is nobody's neighbor, and user space counts it.
	if (type == ARP || (type == DOT1Q && data + 22 <= end && *(__u16 *)(data + 20) == bpf_htons(ARP)))
		hand_over(ctx);
	return XDP_PASS;
}

SEC("xdp")
int sonde(struct xdp_md *ctx)
{
	__u32 zero = 0;
	const struct config *cfg = bpf_map_lookup_elem(&config, &zero);
	if (!cfg)
		return XDP_PASS;
	if (ctx->ingress_ifindex != cfg->ifindex)
		return send_next(ctx, cfg);
	if (!cfg->expecting)
		return XDP_PASS;
	return receive(ctx, cfg);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

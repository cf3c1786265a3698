// The xsk link's program: whose is a frame that comes in?
//
//   TCP and UDP to our port   the scan's alone: to the queue's AF_XDP socket, and they end here
//   ARP and ICMP              both's: a copy to user space, and on to the kernel
//   everything else           the kernel's, untouched
//
// So sessions and pings of others that use the interface go on, and the kernel answers nothing that is for the scan.
// What shows no port (later fragments, headers between IPv6 and its transport) is the kernel's. Until user space has said
// the port, everything is.

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_HEADER 14
#define TAG 4
#define DOT1Q 0x8100
#define DOT1AD 0x88a8
#define ARP 0x0806
#define IPV4 0x0800
#define IPV6 0x86dd
#define ICMP 1
#define TCP 6
#define UDP 17
#define ICMPV6 58

#define PORT_UNKNOWN 0

// A copied frame: its length, then as much of it as there is room for.
#define COPY_HEADER 8
#define SHORT_COPY 120
#define LONG_COPY 512
struct short_copy {
	__u32 length;
	__u32 kept;
	__u8 bytes[SHORT_COPY];
};
struct long_copy {
	__u32 length;
	__u32 kept;
	__u8 bytes[LONG_COPY];
};

// TCP and UDP port of the scan, network order.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u16);
} port SEC(".maps");

// By receive queue; user space sizes it.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 21);
} copies SEC(".maps");

// Copies that found no room.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline void count_lost(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&lost, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

// Keeps the compiler from carrying a bound in another register than the one the verifier sees checked.
#define IN_REGISTER(value) asm volatile("" : "+r"(value))

static __always_inline int copy(struct xdp_md *ctx, __u64 length)
{
	__u64 kept = length;

	if (kept <= SHORT_COPY) {
		struct short_copy *record = bpf_ringbuf_reserve(&copies, sizeof(*record), 0);

		if (!record) {
			count_lost();
			return XDP_PASS;
		}
		record->length = length;
		record->kept = kept;
		IN_REGISTER(kept);
		if (kept < ETH_HEADER || kept > SHORT_COPY || bpf_xdp_load_bytes(ctx, 0, record->bytes, kept) < 0)
			bpf_ringbuf_discard(record, 0);
		else
			bpf_ringbuf_submit(record, 0);
	} else {
		struct long_copy *record = bpf_ringbuf_reserve(&copies, sizeof(*record), 0);

		if (!record) {
			count_lost();
			return XDP_PASS;
		}
		if (kept > LONG_COPY)
			kept = LONG_COPY;
		record->length = length;
		record->kept = kept;
		IN_REGISTER(kept);
		if (kept < ETH_HEADER || kept > LONG_COPY || bpf_xdp_load_bytes(ctx, 0, record->bytes, kept) < 0)
			bpf_ringbuf_discard(record, 0);
		else
			bpf_ringbuf_submit(record, 0);
	}
	return XDP_PASS;
}

SEC("xdp")
int sonde_redirect(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	const __u16 *ours = bpf_map_lookup_elem(&port, &zero);
	__u8 *at = data;
	__u16 type;
	__u8 protocol;
	int v6 = 0;

	if (!ours || *ours == PORT_UNKNOWN || data + ETH_HEADER > end)
		return XDP_PASS;
	type = bpf_ntohs(*(__be16 *)(at + 12));
	at += ETH_HEADER;
#pragma unroll
	for (int tags = 0; tags < 2; tags++) {
		if (type != DOT1Q && type != DOT1AD)
			break;
		if ((void *)at + TAG > end)
			return XDP_PASS;
		type = bpf_ntohs(*(__be16 *)(at + 2));
		at += TAG;
	}
	if (type == ARP)
		return copy(ctx, end - data);
	if (type == IPV4) {
		__u32 header;

		if ((void *)at + 20 > end)
			return XDP_PASS;
		header = (at[0] & 0xf) * 4;
		if (header < 20 || *(__be16 *)(at + 6) & bpf_htons(0x1fff))
			return XDP_PASS;
		protocol = at[9];
		at += header;
	} else if (type == IPV6) {
		if ((void *)at + 40 > end)
			return XDP_PASS;
		protocol = at[6];
		at += 40;
		v6 = 1;
	} else {
		return XDP_PASS;
	}
	if (protocol == (v6 ? ICMPV6 : ICMP))
		return copy(ctx, end - data);
	if ((protocol != TCP && protocol != UDP) || (void *)at + 4 > end || *(__be16 *)(at + 2) != *ours)
		return XDP_PASS;
	// A queue without a socket is the kernel's.
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

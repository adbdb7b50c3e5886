// What a container costs without a runtime: cgroups in every hierarchy, namespaces, a pair of links on a bridge, an overlay, a
// new root, and a program that is executed in it.
//
//   floor LOWER WORK BRIDGE-INDEX GATEWAY CGROUP-MOUNT...
//
// Prints the microseconds from nothing to the executed program. LOWER must have bin/true. Everything is removed again, which is
// not measured.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/veth.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 32
#define CHECK(call) ((call) < 0 ? err(1, "%s", #call) : (void)0)

static struct { struct nlmsghdr head; char body[1024]; } message;

static void *put(const void *bytes, size_t length) {
    void *place = (char *)&message + message.head.nlmsg_len;
    memcpy(place, bytes, length);
    message.head.nlmsg_len += NLMSG_ALIGN(length);
    return place;
}

static struct rtattr *attribute(int type, const void *bytes, size_t length) {
    struct rtattr head = {RTA_LENGTH(length), type}, *place = put(&head, sizeof head);
    if (length) put(bytes, length);
    return place;
}

static void end(struct rtattr *nest) { nest->rta_len = (char *)&message + message.head.nlmsg_len - (char *)nest; }

static void begin(int type, int flags, const void *body, size_t length) {
    message.head = (struct nlmsghdr){NLMSG_LENGTH(0), type, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0};
    put(body, length);
}

static void tell(int netlink) {
    char answer[4096];
    CHECK(send(netlink, &message, message.head.nlmsg_len, 0));
    CHECK(recv(netlink, answer, sizeof answer, 0));
    int code = ((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)answer))->error;
    if (code) errx(1, "netlink message %d: %s", message.head.nlmsg_type, strerror(-code));
}

static void add_links(int netlink, int pid, int bridge) {
    struct ifinfomsg link = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP}, none = {0};
    char name[IFNAMSIZ]; // That of the last one is gone some time after its namespace.
    int length = snprintf(name, sizeof name, "floor-%d", pid);
    begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
    attribute(IFLA_IFNAME, name, length + 1);
    attribute(IFLA_MASTER, &bridge, 4);
    struct rtattr *info = attribute(IFLA_LINKINFO, "", 0);
    attribute(IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = attribute(IFLA_INFO_DATA, "", 0), *peer = attribute(VETH_INFO_PEER, "", 0);
    put(&none, sizeof none);
    attribute(IFLA_IFNAME, "eth0", 5);
    attribute(IFLA_NET_NS_PID, &pid, 4);
    end(peer), end(data), end(info);
    tell(netlink);
}

static void set_up(int netlink, const char *name, const char *gateway) {
    struct ifinfomsg link = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    begin(RTM_NEWLINK, 0, &link, sizeof link);
    attribute(IFLA_IFNAME, name, strlen(name) + 1);
    tell(netlink);
    if (!gateway) return;
    in_addr_t via = inet_addr(gateway), own = htonl(ntohl(via) + 1);
    struct ifinfomsg ask = {0};
    begin(RTM_GETLINK, 0, &ask, sizeof ask);
    attribute(IFLA_IFNAME, name, strlen(name) + 1);
    char answer[8192];
    CHECK(send(netlink, &message, message.head.nlmsg_len, 0));
    CHECK(recv(netlink, answer, sizeof answer, 0));
    int index = ((struct ifinfomsg *)NLMSG_DATA((struct nlmsghdr *)answer))->ifi_index;
    CHECK(recv(netlink, answer, sizeof answer, 0));
    struct ifaddrmsg address = {.ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = index};
    begin(RTM_NEWADDR, NLM_F_CREATE, &address, sizeof address);
    attribute(IFA_LOCAL, &own, 4);
    tell(netlink);
    struct rtmsg route = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST};
    begin(RTM_NEWROUTE, NLM_F_CREATE, &route, sizeof route);
    attribute(RTA_GATEWAY, &via, 4);
    tell(netlink);
}

static int open_netlink(void) {
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    CHECK(netlink);
    return netlink;
}

// A cgroup in each hierarchy. What is opened is where the child goes by itself: `tasks` of version 1, for `cgroup.procs` waits
// for all processors to be idle once. In version 2 it is begun where it belongs.
static int make_cgroups(char **mounts, int entrances[], int *unified) {
    char path[4096], text[256];
    int count = 0;
    for (; *mounts; mounts++) {
        snprintf(path, sizeof path, "%s/floor", *mounts);
        CHECK(mkdir(path, 0755));
        // A new cpuset takes no process before it has processors and memory.
        for (const char **file = (const char *[]){"cpuset.cpus", "cpuset.mems", NULL}; *file; file++) {
            snprintf(path, sizeof path, "%s/%s", *mounts, *file);
            int from = open(path, O_RDONLY | O_CLOEXEC), size = from < 0 ? 0 : read(from, text, sizeof text);
            snprintf(path, sizeof path, "%s/floor/%s", *mounts, *file);
            int to = size > 0 ? open(path, O_WRONLY | O_CLOEXEC) : -1;
            if (to >= 0) CHECK(write(to, text, size));
            close(from), close(to);
        }
        snprintf(path, sizeof path, "%s/floor/tasks", *mounts);
        int tasks = open(path, O_WRONLY | O_CLOEXEC);
        if (tasks >= 0 && count < MOST) {
            entrances[count++] = tasks;
        } else {
            snprintf(path, sizeof path, "%s/floor", *mounts);
            CHECK(*unified = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
        }
    }
    return count;
}

static void contain(char **arguments, int go, int entrances[], int count) {
    char options[4096], byte;
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL));
    for (int i = 0; i < count; i++) CHECK(write(entrances[i], "0", 1));
    CHECK(sethostname("floor", 5));
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=upper,workdir=work", arguments[1]);
    CHECK(mount("overlay", "root", "overlay", 0, options));
    CHECK(chdir("root"));
    CHECK(syscall(SYS_pivot_root, ".", "."));
    CHECK(umount2(".", MNT_DETACH));
    CHECK(chdir("/"));
    CHECK(read(go, &byte, 1));
    int netlink = open_netlink();
    set_up(netlink, "lo", NULL);
    set_up(netlink, "eth0", arguments[4]);
    CHECK(execl("/bin/true", "true", NULL));
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

int main(int count, char **arguments) {
    if (count < 6) errx(64, "floor LOWER WORK BRIDGE-INDEX GATEWAY CGROUP-MOUNT...");
    char path[4096], byte;
    CHECK(chdir(arguments[2]));
    double start = now();
    int netlink = open_netlink(), go[2], gone[2], entrances[MOST], unified = -1;
    CHECK(pipe2(go, O_CLOEXEC));
    CHECK(pipe2(gone, O_CLOEXEC));
    CHECK(mkdir("upper", 0755)), CHECK(mkdir("work", 0755)), CHECK(mkdir("root", 0755));
    int opened = make_cgroups(arguments + 5, entrances, &unified);
    struct clone_args clone = {
        .flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID | (unified < 0 ? 0 : CLONE_INTO_CGROUP),
        .exit_signal = SIGCHLD,
        .cgroup = unified < 0 ? 0 : unified,
    };
    int pid = syscall(SYS_clone3, &clone, sizeof clone);
    CHECK(pid);
    if (!pid) contain(arguments, go[0], entrances, opened);
    add_links(netlink, pid, atoi(arguments[3]));
    CHECK(write(go[1], "", 1));
    close(gone[1]);
    CHECK(read(gone[0], &byte, 1)); // Ends when the program was executed.
    printf("%.0f\n", now() - start);
    int status;
    CHECK(waitpid(pid, &status, 0));
    if (status) errx(1, "the container ended with %d", status);
    for (int i = 5; i < count; i++) {
        snprintf(path, sizeof path, "%s/floor", arguments[i]);
        while (rmdir(path) < 0) usleep(1000);
    }
    CHECK(rmdir("upper")), CHECK(rmdir("work/work")), CHECK(rmdir("work")), CHECK(rmdir("root"));
}

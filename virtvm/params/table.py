"""Every param: what it means, its default, and who reads it.

The defaults of a run, docs/params.rst, `virtvm params` and the look for misspelt names come from here.  A
param that is read and is not here fails the tests (tests/support/recorder.py).
"""

import difflib
import functools
from typing import NamedTuple

from virtvm.session.prompt import PROMPT

# Who reads a param: the word that entries have for it, and the file.
READERS = {
    "run": "virtvm/pytest_plugin.py", "run_command": "virtvm/commands/run.py", "config": "virtvm/params/config.py",
    "env_process": "virtvm/autotest/tests/virt_env_process.py",
    "test_setup": "virtvm/autotest/tests/virt_test_setup.py",
    "test_utils": "virtvm/autotest/tests/virt_test_utils.py", "qemu": "virtvm/hypervisors/qemu.py",
    "qemu_command": "virtvm/hypervisors/qemu_command.py", "disks": "virtvm/hypervisors/disks.py",
    "network": "virtvm/hypervisors/network.py", "cloud_init": "virtvm/guest/cloud_init.py",
    "shell": "virtvm/commands/interactive.py",
    "base_vm": "ext/virt_vm/base_vm.c", "guest": "ext/virt_vm/guest.c", "image": "ext/virt_vm/image.c",
    "login": "ext/virt_vm/login.c",
}
TESTS = "tests"         # those of autotest's ask for it; nothing else does


class Param(NamedTuple):
    """One param, or all those that a pattern (*_suffix) names.

    default: what a run has unless somebody says otherwise, or None; otherwise: what is taken where no run's
    default holds, or there is none.  whose: "autotest" or "virtvm", from whose source these are.  by: words of
    READERS, or TESTS.  of: the param that lists the objects that may have one of their own, beside VMs.
    honoured: False for autotest's that nothing here looks at.
    """

    name: str
    meaning: str
    default: "str | None" = None
    otherwise: "str | None" = None
    whose: str = "autotest"
    unit: str = ""
    example: str = ""
    by: "tuple[str, ...]" = ()
    of: str = ""
    honoured: bool = True

    def is_pattern(self):
        """Whether this stands for many names (bool)."""
        return "*" in self.name

    def readers(self):
        """Files (list of str) that read it; empty if tests alone do."""
        return [READERS[word] for word in self.by if word != TESTS]


def _p(name, meaning, by="", *, ours=False, **more):
    return Param(name, meaning, by=tuple(by.split()), whose="virtvm" if ours else "autotest", **more)


def _yes(name, meaning, by, *, default=None, otherwise="no", **more):
    """One that is yes or no."""
    usual = default or otherwise
    return _p(name, meaning, by, default=default, otherwise=otherwise, example="yes" if usual == "no" else "no", **more)


def _not(name, meaning, example):
    return _p(name, meaning, example=example, honoured=False)


GROUPS = (
    ("Tests", (
        _p("type", "The test that a variant runs: run_<type> in <type>.py.", "run config", example="boot"),
        _p("name", "Full name of a variant, or the test's name.", "run config", example="qcow2.boot"),
        _p("shortname", "Name of a variant without the labels that @ leaves out.", "run_command config",
           example="qcow2.boot"),
        _p("dep", "Parts of full names (a list) of tests that have to pass before this one.", "run",
           example="['qcow2.install']"),
        _yes("skip", "Leave this variant out.", "run"),
        _p("iterations", "How often the test is run.", "run", otherwise="1", example="5"),
        _p("profilers", "Names of what measures the host during the test.", "run", example="kvm_stat"),
        _yes("abort_on_error", "End the whole run when this test fails.", "run"),
        _p("vms", "Names of the virtual machines.", "env_process test_setup network run_command", default="vm1",
           example="vm1 vm2"),
        _p("main_vm", "The virtual machine that a test takes when it takes one.", "run shell", default="vm1",
           example="vm2"),
        _p("vm_type", "Which hypervisor.", "env_process image disks", default="kvm", example="kvm"),
        _p("vm_class", "Class of the virtual machines, for a hypervisor of one's own.", "env_process config",
           ours=True, example="package.module:Class"),
        _yes("start_vm", "Start the machine before the test unless it runs already.", "env_process", default="yes"),
        _yes("restart_vm", "Start the machine anew before the test, even if it runs.", "env_process"),
        _yes("kill_vm", "End the machine after the test.", "env_process", default="no"),
        _p("kill_vm_timeout", "How long the machine may take to end by itself before kill_vm ends it.", "env_process",
           otherwise="0", unit="seconds", example="60"),
        _yes("kill_vm_gracefully", "Shut the guest down by its shell rather than quit the hypervisor.",
             "env_process", default="no", ours=True),
        _yes("kill_unresponsive_vms", "After the test end machines that nobody can log into.", "env_process",
             default="yes"),
        _p("migration_mode", "Start the machine to wait for a migration by this way.", "env_process",
           example="tcp"),
        _p("pre_command", "Command line of the host's shell that is run before the test.", "env_process",
           example="./prepare.sh"),
        _p("pre_command_timeout", "How long pre_command may take.", "env_process", otherwise="600", unit="seconds",
           example="60"),
        _yes("pre_command_noncritical", "A failure of pre_command is only warned of.", "env_process"),
        _p("post_command", "Command line of the host's shell that is run after the test.", "env_process",
           example="./tidy.sh"),
        _p("post_command_timeout", "How long post_command may take.", "env_process", otherwise="600", unit="seconds",
           example="60"),
        _yes("post_command_noncritical", "A failure of post_command is only warned of.", "env_process"),
        _p("*_on_error", "What replaces the param of that name in the cleaning up after a failed test.",
           "env_process", example="keep_screendumps_on_error = yes"),
        _yes("create_image", "Create the disk image before the test if it is not there.", "env_process",
             of="images"),
        _yes("force_create_image", "Create the disk image before the test, even if it is there.", "env_process",
             of="images"),
        _yes("check_image", "Check the disk image after the test.", "env_process", of="images"),
        _yes("remove_image", "Remove the disk image after the test.", "env_process", of="images"),
        _yes("take_regular_screendumps", "Take pictures of the screen while the test runs.", "env_process"),
        _p("screendump_delay", "Time between two of the regular pictures of the screen.",
           "env_process", otherwise="5", unit="seconds",
           example="0.5"),
        _yes("keep_screendumps", "Keep the regular pictures of the screen after the test.",
             "env_process", default="no"),
        _yes("keep_ppm_files", "Keep pictures in PPM format after the test.", "env_process", default="no"),
        _yes("convert_ppm_files_to_png", "Make PNG files of pictures in PPM format.", "env_process",
             default="yes", ours=True),
        _yes("setup_hugepages", "Reserve huge pages for the test, and give them back.", "env_process"),
        _p("max_vms", "How many machines huge pages are reserved for, if more than vms names.", "test_setup",
           otherwise="0", example="4"),
        _p("test_config", "Settings of transparent huge pages: PATH:VALUE, separated by semicolons.",
           "test_setup", example="enabled:always;defrag:never"),
        _p("run_tcpdump", "Learn guests' addresses from DHCP answers by tcpdump (unless given: where there are"
           " tap NICs).", "env_process", ours=True, example="no"),
    )),
    ("The machine", (
        _p("mem", "Memory of the guest.", "qemu_command test_setup", default="1024", otherwise="128", unit="MiB",
           example="2048"),
        _p("smp", "How many processors the guest has.", "qemu_command", default="1", example="4"),
        _p("cpu_model", "Model of the processors, as QEMU's -cpu.", "qemu_command", example="host"),
        _p("machine_type", "Type of the machine, as QEMU's -machine.", "qemu_command", otherwise="pc",
           ours=True, example="q35"),
        _p("qemu_binary", "QEMU: a path, or a name below the suite's folder or on PATH.", "qemu_command",
           otherwise="qemu-system-x86_64", ours=True, example="/opt/qemu/bin/qemu-system-x86_64"),
        _yes("enable_kvm", "Fail if KVM can't be used, instead of going on without.", "qemu", ours=True),
        _yes("disable_kvm", "Do without KVM.", "qemu", ours=True),
        _yes("hugepage", "Take the guest's memory from huge pages.", "qemu_command"),
        _p("hugepage_path", "Where the file system of huge pages is mounted.", "qemu_command", ours=True,
           otherwise="/mnt/kvm_hugepage", example="/dev/hugepages"),
        _p("kernel", "Kernel to boot.", "qemu_command config", example="/boot/vmlinuz"),
        _p("initrd", "Initial RAM disk of the kernel that is booted.", "qemu_command", example="/boot/initrd.img"),
        _p("kernel_params", "Command line of the kernel that is booted.", "qemu_command", example="console=ttyS0"),
        _yes("cloud_init", "Let us into a distribution's cloud image: its cloud-init, or systemd, is given a key.",
             "cloud_init config", ours=True),
        _p("cloud_init_user", "Who logs into the cloud image: root, or a user that it makes, with sudo"
           " (unless given: username).", "cloud_init", ours=True, example="tester"),
        _p("boot_order", "Order of devices to boot from, as QEMU's -boot order=.", "qemu_command", example="cdn"),
        _p("boot_once", "Order of devices for the first boot alone, as QEMU's -boot once=.",
           "qemu_command", example="d"),
        _p("boot_menu", "Whether the BIOS offers its menu: on or off.", "qemu_command", example="on"),
        _p("display", "The screen: none, vnc, sdl or gtk.", "qemu_command", default="none", ours=True,
           example="vnc"),
        _p("vga", "Video card, as QEMU's -vga.", "qemu_command", otherwise="std", example="cirrus"),
        _p("uuid", "UUID of the machine; random: another one each time.", "base_vm qemu", example="random"),
        _p("rtc_base", "Time that the clock starts with, as QEMU's -rtc base=.", "qemu_command",
           example="localtime"),
        _p("rtc_clock", "What drives the clock, as QEMU's -rtc clock=.", "qemu_command", example="vm"),
        _p("rtc_drift", "What is done about lost ticks, as QEMU's -rtc driftfix=.", "qemu_command",
           example="slew"),
        _yes("virtio_rng", "Give the guest a source of random numbers.", "qemu_command", ours=True,
             otherwise="yes"),
        _yes("testdev", "Add the device by which kvm-unit-tests tell their outcome.", "qemu qemu_command"),
        _p("pci_assignable", "Devices of the host's for the guest: refused unless no.", "qemu", otherwise="no",
           example="no"),
        _p("extra_params", "More of QEMU's command line, in the shell's quotes.", "qemu qemu_command config",
           example="-device virtio-balloon-pci"),
        _p("monitors", "Names of the monitors (unless given: qmp1).", "qemu", example="qmp1 hmp1"),
        _p("main_monitor", "The monitor that is taken when one is (unless given: the first).", "qemu",
           example="qmp1"),
        _p("monitor_type", "Language of a monitor: qmp or human.", "qemu", otherwise="qmp", ours=True,
           of="monitors", example="human"),
        _p("migration_address", "Address to wait for a migration by TCP at.", "qemu", ours=True,
           otherwise="127.0.0.1", example="192.0.2.7"),
        _p("canary_port", "A port of the guest's on which nobody listens, to tell a booting guest by; or no.",
           "qemu", ours=True, otherwise="9", example="no"),
        _p("kernel_crash_patterns", "What a crashed kernel prints: seed, modern, or a regular expression (new"
           " tests: modern).", "qemu run", ours=True, otherwise="seed", example="modern"),
    )),
    ("Disks and CDs", (
        _p("images", "Names of the disks.", "qemu_command disks env_process config", default="", ours=True,
           example="image1"),
        _p("image_name", "Path of the disk image, less the suffix that its format gives.", "image config",
           otherwise="image", of="images", example="/srv/guest"),
        _p("image_format", "Format of the disk image.", "image qemu_command config disks", default="qcow2",
           of="images", example="raw"),
        _p("image_size", "Size of a disk image that is created.", "image", default="10G", of="images",
           unit="bytes, or with K, M, G", example="512M"),
        _yes("image_raw_device", "image_name is the whole name: a device, or a file without a suffix.",
             "image config", of="images"),
        _p("image_cluster_size", "Cluster size of a disk image that is created.", "image", of="images",
           unit="bytes", example="65536"),
        _yes("image_snapshot", "What the guest writes goes with it: the image stays as it is.",
             "qemu_command disks config", default="yes", ours=True, of="images"),
        _yes("image_readonly", "The guest can't write to the disk.", "qemu_command disks", of="images"),
        _yes("image_boot", "Boot from this disk.", "qemu_command", of="images"),
        _yes("boot_drive", "no: the machine is started without this disk.", "qemu_command disks", otherwise="yes",
             of="images"),
        _p("drive_format", "What the disk is to the guest: ide, virtio, scsi, ahci, usb, sd, or a device of QEMU's.",
           "qemu_command", default="virtio", otherwise="ide", ours=True, of="images", example="ahci"),
        _p("drive_cache", "Cache of the host, as QEMU's cache=.", "qemu_command", of="images", example="none"),
        _p("drive_werror", "What is done about a failed write, as QEMU's werror=.", "qemu_command", of="images",
           example="stop"),
        _p("drive_rerror", "What is done about a failed read, as QEMU's rerror=.", "qemu_command", of="images",
           example="stop"),
        _p("drive_aio", "How QEMU reads and writes, as its aio=.", "qemu_command", ours=True, of="images",
           example="native"),
        _p("drive_serial", "Serial number of the disk.", "qemu_command", of="images", example="DISK1"),
        _p("qemu_img_binary", "qemu-img: a path, or a name below the suite's folder or on PATH.", "image disks",
           otherwise="qemu-img", example="/opt/qemu/bin/qemu-img"),
        _p("cdroms", "Names of the CD drives.", "qemu qemu_command", example="cd1"),
        _p("cdrom", "Image of the CD in the drive; none: it is empty.", "qemu_command config", of="cdroms",
           example="/srv/install.iso"),
        _p("md5sum_1m", "MD5 sum that the first MiB of the CD image must have.", "qemu", of="cdroms",
           example="e3b5..."),
        _p("md5sum", "MD5 sum that the CD image must have.", "qemu", of="cdroms", example="d41d..."),
        _p("sha1sum", "SHA-1 sum that the CD image must have.", "qemu", of="cdroms", example="da39..."),
    )),
    ("Network", (
        _p("nics", "Names of the network cards.", "qemu qemu_command network base_vm", default="nic1",
           example="nic1 nic2"),
        _p("nic_mode", "What a card is connected to: user, or tap.", "qemu qemu_command network", default="user",
           ours=True, of="nics", example="tap"),
        _p("nic_model", "What the card is to the guest: virtio, or a device of QEMU's.", "qemu_command",
           default="virtio", otherwise="rtl8139", ours=True, of="nics", example="e1000"),
        _p("nic_mac", "MAC address (unless given: one of the pool).", "base_vm qemu", ours=True, of="nics",
           example="52:54:00:12:34:56"),
        _p("nic_ifname", "Name of the host's interface of a tap card (unless given: a new one).", "qemu",
           of="nics", example="tap0"),
        _p("nic_script", "Program that connects a tap card, instead of a bridge.", "qemu qemu_command", of="nics",
           example="qemu-ifup"),
        _p("nic_extra_params", "More options of the card's, as QEMU's -device.", "qemu_command", of="nics",
           example="mq=on"),
        _p("romfile", "What the card boots the guest by; empty: nothing.", "qemu_command", of="nics",
           example="efi-virtio.rom"),
        _p("bridge", "Bridge that a tap card is put into; private: one that is made.", "network env_process",
           of="nics", example="br0"),
        _p("priv_brname", "Name of the bridge that bridge = private makes.", "network test_setup", otherwise="atbr0",
           example="virtvm0"),
        _p("priv_subnet", "First three numbers of the addresses of the bridge that is made.",
           "test_setup", otherwise="192.168.58",
           example="10.0.7"),
        _p("bridge_ip_version", "Kind of addresses of the bridge that is made: ipv4, and nothing else.",
           "test_setup", otherwise="ipv4",
           example="ipv4"),
        _p("redirs", "Names of the guest's ports that the host can reach with user networking.", "qemu",
           default="remote_shell", example="remote_shell web"),
        _p("guest_port", "Port of the guest's that a name in redirs stands for.", "qemu", of="redirs", example="80"),
        _p("guest_port_remote_shell",
           "Port of the guest's that remote_shell in redirs stands for: the one to log in by.",
           "qemu", default="22", example="23"),
    )),
    ("Logging in", (
        _p("username", "Who logs in.", "login shell qemu run cloud_init", default="root", example="tester"),
        _p("password", "Password of who logs in.", "login config shell qemu cloud_init", default="", ours=True,
           example="secret"),
        _p("shell_client", "How one logs in: ssh, telnet or nc.", "login qemu", default="ssh", example="telnet"),
        _p("shell_port", "Port of the guest's to log in at.", "login qemu run", default="22", example="23"),
        _p("shell_prompt", "Regular expression of the shell's prompt.", "login qemu", default=PROMPT,
           otherwise=r"[\#\$]", ours=True, example=r"^C:\\.*>\s*$"),
        _p("shell_linesep", "What ends a line that is sent, as Python's escapes.", "login", default=r"\n",
           example=r"\r\n"),
        _p("status_test_command", "Command that prints the status of the one before.", "login",
           default="echo $?", otherwise="", example="echo %errorlevel%"),
        _p("shell_output_limit", "How much one command may print; more is an error.", "login", ours=True,
           otherwise="268435456", unit="bytes", example="1048576"),
        _p("login_timeout", "How long a guest may take until one is logged in.", "run shell", default="360",
           unit="seconds", example="120"),
        _p("ssh_identity_file", "Private key to log in with.", "login shell qemu run cloud_init", ours=True,
           example="~/.ssh/id_ed25519"),
        _p("ssh_identity_passphrase", "Passphrase of the private key to log in with.",
           "login shell qemu", ours=True, example="secret"),
        _p("ssh_known_hosts", "File that the server's key must be in; without it any is accepted.",
           "login shell qemu", ours=True, example="known_hosts"),
        _p("ssh_auth", "Ways to log in, in order: publickey, agent, password, keyboard-interactive.",
           "login qemu", ours=True, example="publickey,password"),
        _p("ssh_keepalive", "Silence after which the peer is asked whether it is still there.", "login",
           ours=True, unit="seconds", example="30"),
        _p("shutdown_command", "Command that shuts the guest down.", "qemu", default="shutdown -h now",
           example="poweroff"),
        _p("shutdown_timeout", "How long the guest may take to shut down.", "qemu", ours=True, otherwise="60",
           unit="seconds", example="120"),
        _p("reboot_command", "Command that reboots the guest.", "qemu test_utils", default="shutdown -r now",
           example="reboot"),
        _p("cpu_chk_cmd", "Command that prints how many processors the guest has.", "guest", default="nproc",
           ours=True, example="grep -c processor /proc/cpuinfo"),
        _p("mem_chk_cmd", "Command that prints how much memory the guest was given.", "guest",
           default="grep MemTotal: /proc/meminfo", ours=True, example="dmidecode -t 17 | grep Size"),
        _p("mem_chk_cur_cmd", "Command that prints how much memory the guest has now.", "guest",
           default="grep MemTotal: /proc/meminfo", example="free -m"),
    )),
    ("Copying files", (
        _p("file_transfer_client", "How files are copied: scp, or rss.", "login qemu", default="scp",
           example="rss"),
        _p("file_transfer_port", "Port of the guest's to copy files by.",
           "login qemu", default="22", example="10023"),
        _p("transfer_engine", "sftp or scp: that one, whatever the guest has.", "login qemu", ours=True,
           example="scp"),
        _yes("transfer_verify", "Compare checksums of both sides.", "login qemu", ours=True),
        _yes("transfer_times", "Keep modification and access times.", "login", ours=True),
        _yes("transfer_keep_links", "Copy symbolic links as links.", "login", ours=True),
        _p("transfer_stall_timeout", "Time without a byte that ends a copy.", "login qemu", ours=True,
           unit="seconds", example="60"),
        _yes("transfer_parents", "Make the folders that the target is to be in.", "login qemu", ours=True),
        _yes("transfer_sparse", "Move no holes of sparse files.", "login", ours=True),
        _yes("transfer_sync", "Each file is on the disk before it gets its name.", "login qemu", ours=True),
        _yes("transfer_in_place", "Write into files that are there instead of replacing them.", "login qemu",
             ours=True),
        _yes("transfer_sudo", "Be root on the guest, by sudo.", "login qemu", ours=True),
        _p("transfer_sudo_password", "What sudo asks for, where that is not the login's password.", "login qemu",
           ours=True, example="secret"),
        _p("transfer_exclude", "Patterns of what is left out of folders that are copied.", "login", ours=True,
           example=".git *.o /build"),
        _yes("transfer_update", "Copy only files that are newer or of another size.", "login", ours=True),
    )),
    ("Read by tests", (
        _p("boot_timeout", "How long a guest may take to boot.", TESTS, default="360", ours=True,
           unit="seconds", example="600"),
        _p("mig_timeout", "How long a migration may take.", "test_utils", default="3600", unit="seconds",
           example="600"),
        _p("migration_protocol", "How to migrate: tcp, unix or exec.", "test_utils", default="tcp",
           example="unix"),
        _yes("migrate_background", "Migrate the guest to and fro while a job runs in it.", "test_utils"),
        _p("reboot_method", "How to reboot: shell or system_reset.", TESTS, example="system_reset"),
        _p("transfer_type", "What copies the file in file_transfer: remote.", TESTS, default="remote",
           example="remote"),
        _p("transfer_timeout", "How long the copy in file_transfer may take.",
           TESTS, default="1000", unit="seconds", example="60"),
        _p("time_command", "Command that prints the guest's time.", TESTS,
           default="date +'TIME: %a %m/%d/%Y %H:%M:%S.%N'", example="date +%s"),
        _p("time_filter_re", "Regular expression whose group is the time in what time_command prints.", TESTS,
           default=r"(?:TIME: \w\w\w )(.{19})", example="(.*)"),
        _p("time_format", "Format of the guest's time, as Python's strptime().", TESTS, default="%m/%d/%Y %H:%M:%S",
           example="%s"),
    )),
    ("Not honoured", (
        _not("9p_export_dir", "Folder of the host's that the guest sees; also the other 9p_ params.", "/srv"),
        _not("address_index", "NIC to log in by.", "1"),
        _not("auto_cpu_model", "The host's model of processors for the guest.", "yes"),
        _not("backup_image", "Keep a copy of the disk image.", "yes"),
        _not("backup_image_on_check_error", "Keep a copy of a disk image that is broken.", "yes"),
        _not("bootp", "File that DHCP names with user networking.", "/pxelinux.0"),
        _not("cd_format", "What a CD drive is to the guest.", "ahci"),
        _not("cpu_family", "Family of the processors.", "6"),
        _not("cpu_model_flags", "Flags of the processors (put them into cpu_model).", "+vmx"),
        _not("cpu_model_vendor", "Vendor of the processors.", "GenuineIntel"),
        _not("default_cpu_model", "Model of the processors where cpu_model is not supported.", "qemu64"),
        _not("device_names", "Devices of the host's for the guest.", "eth1"),
        _not("devices_requested", "How many devices of the host's the guest gets.", "1"),
        _not("disable_hpet", "Leave out the timer HPET.", "yes"),
        _not("drive_blkdebug", "File of faults of the disk.", "default.conf"),
        _not("drive_bus", "Bus of the disk.", "0"),
        _not("drive_index", "Place of the disk or CD drive: it is that in images, or cdroms.", "0"),
        _not("drive_lun", "Logical unit of the disk.", "0"),
        _not("drive_scsiid", "SCSI id of the disk.", "1"),
        _not("driver", "Driver of the host's of devices for the guest.", "igb"),
        _not("driver_option", "Options of the driver of devices for the guest.", "max_vfs=7"),
        _not("enable-kvm", "Use KVM (here: enable_kvm, disable_kvm).", "yes"),
        _not("enable_sga", "The BIOS on the serial console.", "yes"),
        _not("encode_video_files", "Make a film of pictures of the screen.", "yes"),
        _not("floppies", "Names of floppy drives.", "fl"),
        _not("floppy", "Image of a floppy disk.", "/srv/floppy.img"),
        _not("floppy_name", "Image of a floppy disk.", "/srv/floppy.img"),
        _not("force_remove_vm", "Remove the machine before the test.", "yes"),
        _not("host_setup_flag", "What was set up on the host for devices for the guest.", "1"),
        _not("image_verify_bootable", "Look whether the disk has a boot sector.", "yes"),
        _not("images_good", "Where good disk images are fetched from.", "server:/images"),
        _not("init_pci_addr", "First PCI address that is given out.", "4"),
        _not("keep_video_files", "Keep films of the screen.", "yes"),
        _not("logical_block_size", "Logical block size of the disk.", "512"),
        _not("malloc_perturb", "Have QEMU's memory filled with a pattern.", "yes"),
        _not("master_images_clone", "Disk images to copy before the test.", "image1"),
        _not("min_io_size", "Smallest good transfer of the disk.", "512"),
        _not("net_restart_cmd", "Command that restarts the host's network.", "service network restart"),
        _not("netdev_extra_params", "More options of a card's back end.", "vhost=on"),
        _not("not_preprocess", "Do without images and machines made ready.", "yes"),
        _not("numa_node", "NUMA node of the host's that the guest is bound to.", "1"),
        _not("opt_io_size", "Best transfer of the disk.", "4096"),
        _not("physical_block_size", "Physical block size of the disk.", "4096"),
        _not("qemu_io_binary", "qemu-io.", "/usr/bin/qemu-io"),
        _not("qxl", "Use the video card qxl (here: vga).", "on"),
        _not("qxl_dev_memory", "Memory of the video card qxl.", "33554432"),
        _not("qxl_dev_nr", "How many video cards qxl.", "1"),
        _not("restore_image_on_check_error", "Put a kept copy in place of a broken disk image.", "yes"),
        _not("screendump_quality", "Quality of pictures of the screen.", "30"),
        _not("screendump_temp_dir", "Folder for pictures of the screen.", "/dev/shm"),
        _not("screendump_verbose", "Say when a picture is taken.", "yes"),
        _not("setup_thp", "Set transparent huge pages up for the test.", "yes"),
        _not("soundcards", "Sound cards.", "ac97"),
        _not("spice", "Options of the display SPICE; also all that begins with spice_.", "disable-ticketing"),
        _not("spice_*", "Options of the display SPICE.", "3000"),
        _not("9p_*", "Options of a folder of the host's that the guest sees.", "local"),
        _not("tftp", "Folder of files for guests that boot over the network.", "/srv/tftp"),
        _not("usb_controller", "Controller of a USB device.", "uhci"),
        _not("usb_devices", "Names of USB devices.", "tablet1"),
        _not("usb_max_port", "Ports of a USB controller.", "2"),
        _not("usb_type", "What a USB controller or device is.", "usb-tablet"),
        _not("usbs", "Names of USB controllers.", "usb1"),
        _not("used_cpus", "Processors of the host's that a test takes, for the scheduler.", "1"),
        _not("used_mem", "Memory of the host's that a test takes, for the scheduler.", "512"),
        _not("vcpu_cores", "Cores of a processor.", "2"),
        _not("vcpu_maxcpus", "How many processors can be plugged in.", "8"),
        _not("vcpu_sockets", "Sockets of processors.", "1"),
        _not("vcpu_threads", "Threads of a core.", "1"),
        _not("virtio_ports", "Names of virtio serial ports.", "vs1"),
        _not("virtio_port_type", "What a virtio serial port is.", "serialport"),
        _not("vnc_extra_params", "More options of VNC.", "sasl"),
        _not("vnc_password", "Ask for a password by VNC.", "yes"),
        _not("x11_display", "Display of X11 that a window is shown on.", ":0"),
    )),
)

TABLE = {param.name: param for _title, params in GROUPS for param in params}
DEFAULTS = {param.name: param.default for param in TABLE.values() if param.default is not None}

# Params that list objects, whose names end params of theirs.
LISTS = ("vms", "images", "nics", "cdroms", "monitors", "redirs", "usbs", "usb_devices", "floppies",
         "virtio_ports")
_ALWAYS = frozenset({"on_error"})


def find(name, objects=()):
    """The entry (Param) of a param's name, or None.

    objects: names that may end it: nic_model_nic2, mem_vm1.  Names that begin with _ are the parser's own.
    """
    if name in TABLE:
        return TABLE[name]
    for ending in _ALWAYS.union(objects):
        if name.endswith("_" + ending):
            found = find(name[:-len(ending) - 1], objects)
            if found is not None:
                return found
    return next((param for prefix, param in _prefixes() if name.startswith(prefix)), None)


@functools.lru_cache(1)
def _prefixes():
    return [(name[:-1], param) for name, param in TABLE.items() if name.endswith("*")]


def nearest(name):
    """The name (str) in the table that this one is most like, or None."""
    return next(iter(difflib.get_close_matches(name, [known for known in TABLE if "*" not in known], 1)), None)


def objects_of(params):
    """Names (set of str) of the objects that params (a mapping) list."""
    return {word for key, value in params.items() if isinstance(value, str) and _lists(key)
            for word in value.split()}


def _lists(key):
    return key in LISTS or any(key.startswith(name + "_") for name in LISTS)


def search(words):
    """Entries (list of Param) that words mean: the one of that name, else those that have them all in them."""
    if len(words) == 1:
        found = TABLE.get(words[0])
        if found is not None:
            return [found]
    words = [word.lower() for word in words]
    return [param for param in TABLE.values()
            if all(word in param.name.lower() or word in param.meaning.lower() for word in words)]

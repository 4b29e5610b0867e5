import ConfigParser, os, StringIO
from autotest_lib.client.common_lib import error


def make_config(values):
    config = ConfigParser.ConfigParser()
    config.add_section("guest")
    for key, value in values.items():
        config.set("guest", key, value)
    out = StringIO.StringIO()
    config.write(out)
    return out.getvalue()


def read_config(text):
    config = ConfigParser.SafeConfigParser()
    config.readfp(StringIO.StringIO(text))
    return dict(config.items("guest")), config.getint("guest", "mem")


def run_guest_ini(test, params, env):
    """
    Send a configuration file into the guest, change it there and read it again.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    path = os.path.join(test.tmpdir, "guest.ini")
    f = file(path, "w")
    f.write(make_config({"mem": 128, "name": vm.name}))
    f.close()
    vm.copy_files_to(path, "/tmp/guest.ini")
    session.cmd("sed -i 's/^mem = .*/mem: 256 ; doubled/' /tmp/guest.ini")
    vm.copy_files_from("/tmp/guest.ini", path)
    session.cmd("rm /tmp/guest.ini")
    session.close()
    values, mem = read_config(open(path).read())
    if mem <> 256 or values["name"] != vm.name:
        raise error.TestFail("Read %s" % values)

"""A device on the Python SDK as it is published: registers itself, connects, shows its base image,
answers every request, and tells on standard output, in a line of JSON each, what happens to it. What
it is to do comes in lines on standard input: `version X`, `disconnect`, `connect`, `end`.

usage: device.py PAIRING_URL REALM TOKEN DEVICE_ID FOLDER INTERFACES"""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from astarte.device import DeviceMqtt
from astarte.device.pairing_handler import register_device_with_jwt_token

REQUEST = "io.edgehog.devicemanager.OTARequest"
EVENT = "io.edgehog.devicemanager.OTAEvent"
IMAGE = "io.edgehog.devicemanager.BaseImage"


def tell(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


def received(device, interface, path, payload):
    tell("received", interface=interface, path=path, payload=payload)
    if interface == REQUEST:
        report = {
            "requestUUID": payload["uuid"],
            "status": "Acknowledged",
            "statusProgress": 0,
            "statusCode": "",
            "message": "",
        }
        device.send_aggregate(EVENT, "/event", report, datetime.now(timezone.utc))


def main():
    pairing_url, realm, token, device_id, folder, interfaces = sys.argv[1:]
    secret = register_device_with_jwt_token(device_id, realm, token, pairing_url)
    tell("registered")
    device = DeviceMqtt(device_id, realm, secret, pairing_url, folder)
    device.add_interfaces_from_dir(Path(interfaces))
    device.set_events_callbacks(
        on_connected=lambda _: tell("connected"),
        on_data_received=received,
        on_disconnected=lambda _, reason: tell("disconnected", reason=int(reason)),
    )
    device.connect()
    for line in sys.stdin:
        match line.split():
            case ["version", version]:
                device.send(IMAGE, "/version", version)
            case ["disconnect"]:
                device.disconnect()
            case ["connect"]:
                device.connect()
            case ["end"]:
                break
    device.disconnect()


main()

"""Make the bucket of the bundled object store; done is done. Runs in the stillhouse image.

Reads MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, BUCKET, and WAIT_S: how long the
store may take.
"""

import os
import sys
import time
from urllib.parse import urlsplit

from minio import Minio
from minio.error import MinioException
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError


def main() -> int:
    bucket, region = os.environ["BUCKET"], os.environ["AWS_REGION"]
    address = urlsplit(os.environ["MLFLOW_S3_ENDPOINT_URL"])
    store = Minio(
        endpoint=address.netloc,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region=region,
        secure=address.scheme == "https",
        http_client=PoolManager(timeout=10.0, retries=Retry(total=0)),
    )
    give_up = time.monotonic() + float(os.environ.get("WAIT_S", "600"))
    while True:
        try:
            if store.bucket_exists(bucket_name=bucket):
                print(f"bucket {bucket} is there")
            else:
                store.make_bucket(bucket_name=bucket, location=region)
                print(f"bucket {bucket} made")
            return 0
        except (MinioException, HTTPError) as error:
            if time.monotonic() > give_up:
                print(f"error: bucket {bucket}: {address.netloc} does not make it ({error})", file=sys.stderr)
                return 1
            print(f"waiting for {address.netloc} ({type(error).__name__})")
            time.sleep(2)


if __name__ == "__main__":
    sys.exit(main())

"""What the tests share. The package is on PYTHONPATH; MILLRACED and MILLRACE name the binaries."""

import faulthandler
import itertools
import os
import subprocess
import unittest

import millrace
import millrace.testing

faulthandler.dump_traceback_later(100, exit=True)  # a test that hangs says where

_topics = itertools.count()


class BrokerTest(unittest.TestCase):
    """Tests with one real broker for the class, and topics of their own."""

    @classmethod
    def setUpClass(cls):
        cls.broker = millrace.testing.Broker()
        cls.admin = millrace.Admin(cls.broker.address)

    @classmethod
    def tearDownClass(cls):
        cls.admin.close()
        cls.broker.close()

    def topic(self, partitions=1, **config):
        """A new topic, named after the test."""
        name = f"{self._testMethodName}.{next(_topics)}"
        self.admin.create_topic(name, partitions=partitions,
                                config={key.replace("_", "."): str(value) for key, value in config.items()})
        return name

    def producer(self, **settings):
        producer = millrace.Producer(self.broker.address, **settings)
        self.addCleanup(producer.close)
        return producer

    def consumer(self, **settings):
        consumer = millrace.Consumer(self.broker.address, **settings)
        self.addCleanup(consumer.close)
        return consumer

    def read_all(self, topic, **settings):
        """What is in the topic now."""
        consumer = self.consumer(**settings)
        consumer.assign([millrace.Assignment(topic, until=millrace.Position.end())])
        return list(consumer)

    def raises(self, code, function, *arguments, **named):
        """The MillraceError of this code that it raises."""
        with self.assertRaises(millrace.MillraceError) as raised:
            function(*arguments, **named)
        self.assertEqual(raised.exception.code, code, raised.exception)
        return raised.exception


def millrace_cli(*arguments, text=""):
    return subprocess.run([os.environ["MILLRACE"], *arguments], input=text, text=True, check=True, capture_output=True).stdout


def main():
    unittest.main(verbosity=1)
